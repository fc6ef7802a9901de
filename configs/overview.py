"""The table of configs/README.md: what each config makes, the published number, and ours with its seeds, time and machine."""

from collections.abc import Sequence

from configs.overview_cells import Config, Number
from configs.recorded import Trial
from gnet.study.tables import markdown_rows

PERCENT = {"scale": 100.0}
"""The published tables of inpainting show test MSE x 100."""
SCALARS = "`--quick`: .029 (O(5)), .136 (inertia), .034 (scattering): below an MLP, on two above one on moved samples, not met"
SCALARS += "; in full not run: about 40 h"
CONFIGS = (
    Config(
        "inpainting/digits.yaml",
        "bias-variance curve on 8 x 8 digits (`make demo`): test MSE",
        "none",
        "embedded in scikit-learn",
        (
            Number(1, "1 cluster", digits=3),
            Number(4, "4", digits=3),
            Number(16, "16", digits=3),
            Number(64, "64", digits=3),
        ),
    ),
    Config(
        "inpainting/mnist.yaml",
        "inpainting table, MNIST: test MSE x 100",
        "33.67 ± 0.07 (14 x 14)",
        "downloaded",
        (Number(196, "14 x 14", **PERCENT),),
    ),
    Config(
        "inpainting/mnist.yaml",
        "the same with one linear layer (`--model.num_layers 1`)",
        "35.35 ± 0.34 (28 x 28)",
        "downloaded",
        (Number(784, "28 x 28", {"model.num_layers": "1"}, **PERCENT),),
    ),
    Config(
        "inpainting/rivals.yaml",
        "rivals of the automatic sum on MNIST, a sum over patches and a convolutional net: test MSE x 100",
        "none",
        "downloaded",
        (Number("sum over patches", "sum over patches", **PERCENT), Number("cnn", "7 x 7 convolutions", **PERCENT)),
    ),
    Config(
        "inpainting/fashion.yaml",
        "inpainting table, Fashion-MNIST: test MSE x 100",
        "14.47 ± 0.11 (14 x 14)",
        "downloaded",
        (Number(196, "14 x 14", **PERCENT),),
    ),
    Config(
        "inpainting/fashion.yaml",
        "the same with one linear layer (`--model.num_layers 1`)",
        "17.45 ± 0.17 (28 x 28)",
        "downloaded",
        (Number(784, "28 x 28", {"model.num_layers": "1"}, **PERCENT),),
    ),
    Config(
        "inpainting/fashion_hflip.yaml",
        "ablation of coarse symmetry: the same images, each mirrored with probability 1/2: test MSE x 100",
        "16.11 ± 0.22 (14 x 14), 14.56 ± 0.08 (with swaps)",
        "downloaded",
        (
            Number(196, "14 x 14", **PERCENT),
            Number(98, "with swaps", {"model.symmetry.swaps": "horizontal_flip"}, **PERCENT),
        ),
    ),
    Config(
        "traffic/metr_la.yaml",
        "traffic table: one, two and nine clusters on METR-LA, three steps from three: test MAE in mph",
        "3.092 ± 0.008 (2 clusters), by another metric (zeros counted)",
        "converted files",
        tuple(
            Number(name, label, {}, "mae", digits=3)
            for name, label in (("S207", "1 cluster"), ("2 clusters", "2"), ("9 clusters", "9"))
        ),
    ),
    Config(
        "traffic/metr_la_12.yaml",
        "the standard task, twelve steps from twelve, masked: after one epoch, 9 clusters, MAE in mph",
        "none for these nets",
        "converted files",
        tuple(Number("9 clusters", f"{5 * step} min", {"trainer.max_epochs": "1"}, f"mae_{step}") for step in (3, 6, 12)),
    ),
    Config(
        "traffic/planted.yaml",
        "forecasts whose best answer is known: one weight, one for each of three roads, one for each node: excess risk",
        "none",
        "drawn",
        (
            Number("S16", "one weight", digits=3),
            Number("3 roads", "3 roads", digits=3),
            Number("trivial", "each node", digits=3),
        ),
    ),
    Config(
        "pose/cmu.yaml",
        "pose table on free data: five groups on the skeleton of 16 joints: MPJPE in mm",
        "none for these data",
        "converted files",
        tuple(Number(name, name, {}, "mpjpe_mm", digits=1) for name in ("S16", "relaxed S16", "(S2)^2", "trivial")),
    ),
    Config(
        "pose/human36m.yaml",
        "pose table, Human3.6M: MPJPE in mm",
        "39.87 ± 0.46 (relaxed S16, 3 seeds)",
        "your own copy",
        by_hand=("not run: the data are licensed", "", ""),
    ),
    Config(
        "simulation/r3.yaml",
        "first figure: where S3, S2 and no symmetry win in three dimensions",
        "thresholds 22.53 (projected), 21.53 (constrained)",
        "drawn",
        by_hand=("the same", "1000 trials, seed 0", "10 s"),
    ),
    Config(
        "simulation/partial_symmetry.yaml",
        "bounds for partial and approximate symmetry, beside what is measured",
        "none",
        "drawn",
        by_hand=("the picture in the main README", "400 trials, seed 0", "30 s"),
    ),
    Config(
        "simulation/shrinkage.yaml",
        "what shrinkage with estimated factors gains, a table of the guide on estimators",
        "none",
        "drawn",
        by_hand=("the table in `docs/estimators.md`", "3000 trials, seed 0", "35 s"),
    ),
    Config(
        "simulation/soft_symmetry.yaml",
        "augmentation and penalties beside exact symmetry: a linear map of six nodes that commutes with S6",
        "none",
        "drawn",
        by_hand=("the table in the main README; all orders met", "200 trials, seed 0", "2 min beside other work"),
    ),
    Config(
        "simulation/selection.yaml",
        "regret of every way to choose a symmetry, against every fixed group, where the truth is planted",
        "none",
        "drawn",
        by_hand=("the table and picture in the main README", "20 trials, seed 0", "15 min beside other work"),
    ),
    Config(
        "plugins/averaging/modes.yaml",
        "averages over B(3), SO(3) and O(3) of a random net: error left and calls per input",
        "none",
        "drawn",
        by_hand=("the table in `gnet/plugins/averaging/README.md`", "64 clouds, 32 elements, seed 0", "2 min beside other work"),
    ),
    Config(
        "plugins/care/clouds.yaml",
        "principal axis of synthetic chains from embeddings by CARE, InfoNCE and a random net: R^2 of a linear probe; symmetry",
        "a picture on other data",
        "drawn",
        by_hand=("CARE .94 to .95, random .49 to .59, InfoNCE .32 to .43", "3", "40 min beside other work"),
    ),
    Config(
        "plugins/care/images.yaml",
        "8 x 8 digits by InfoNCE with and without CARE's term: accuracy of a linear probe, relative equivariance",
        "none on these data",
        "embedded in scikit-learn",
        by_hand=(
            ".980, .27 (CARE); .984, 3.91 (InfoNCE)",
            "3",
            "10 min beside other work",
        ),
    ),
    Config(
        "plugins/expressivity/pairs.yaml",
        "pairs of graphs that look alike to message passing: colours, triangles, readouts of a random GIN",
        "the table of colours",
        "drawn",
        by_hand=("the same; the table in `gnet/plugins/expressivity/README.md`", "seed 0", "10 s"),
    ),
    Config(
        "plugins/covariants/inertia.yaml",
        "matrices of inertia from an invariant of bodies and a covector, beside a model of scalars: test MSE",
        "none",
        "drawn",
        by_hand=(".013 ± .003 (covariants), .017 ± .003 (scalars); `--quick` .111, .110", "3", "1 min a run"),
    ),
    Config(
        "plugins/halos/galaxies.yaml",
        "masses of galaxies from 72 scalars of synthetic halos, beside the mass of the halo: half width of errors in dex",
        "none",
        "drawn",
        by_hand=(
            "ridge: .057 to .061 (all scalars), .097 to .118 (mass alone); perceptron: .230 to .288, .302 to .434",
            "4",
            "15 min",
        ),
    ),
    Config(
        "plugins/pendulum/table.yaml",
        "springy double pendulum, N-ODE and HNN by scalars, EMLPs and MLP: geometric mean of relative errors of states",
        "scalars .009 (N-ODE), .005 (HNN); O(2) .020, .012; MLP .048, .028",
        "made on demand",
        by_hand=(
            "scalars .0061 (N-ODE), .0031 (HNN); O(2) .0138 (N-ODE); MLP .0215, .0131; others not run, about 27 h;"
            " `--quick`: scalars .022 (N-ODE), .050 (HNN); O(2) .040, .043; MLP .085, .059",
            "1",
            "4 to 100 min a run; `--quick` 11 min",
        ),
    ),
    Config(
        "plugins/point_clouds/distances.yaml",
        "distances of tori and boxes from 1600 pairs, by all products, centroids, a graph net: test Spearman, median of seeds",
        "all .855, centroids .749, on ModelNet40",
        "drawn",
        by_hand=(".973 (all), .745 (centroids), .978 (graph net)", "3", "3 min of processor time"),
    ),
    Config(
        "plugins/point_clouds/coulomb.yaml",
        "functions of spectra of made up Coulomb matrices, from sets of entries, sorted rows, eigenvalues: error, constant = 1",
        "none",
        "drawn",
        by_hand=(
            ".059 (sets and mixed sum), .063 (sets), .041 (rows), .020 (eigenvalues)",
            "3",
            "3 min of processor time",
        ),
    ),
    Config(
        "plugins/scalars/regressions.yaml",
        "data efficiency of perceptrons on scalars on O(5) scalars, inertia and scattering: test MSE",
        "1000 samples, read off curves: .0085 (O(5)), .0038 (inertia), .010 (scattering)",
        "drawn",
        by_hand=(SCALARS, "1", "6 min"),
    ),
    Config(
        "plugins/tensors/regressions.yaml",
        "data efficiency of equivariant perceptrons on O(5) scalars, inertia and scattering: test MSE",
        "inertia, 1000 samples: .128 (EMLP), 3.24 (MLP), .130 (MLP, moved samples)",
        "drawn",
        by_hand=("inertia, 1000 samples: .116 (EMLP), 3.72 (MLP), .116 (MLP, moved samples) (quick)", "1", "half an hour"),
    ),
    Config(
        "plugins/units/black_body.yaml",
        "spectra of other temperatures by dimensional analysis, without and with Planck's constant, and by an MLP: RMSE of ln B",
        "6.35 (without), .64 (MLP), .39 (found constant)",
        "drawn",
        by_hand=(
            "6.35, .63 to .68, .34 to .42 (.37 to .41 with h given); `--quick`: 6.35, .68, .37 (.40)",
            "3",
            "169 s of processor time; `--quick` 32 s",
        ),
    ),
    Config(
        "plugins/units/pendulum.yaml",
        "springy double pendulums of all constants, Hamiltonians of raw scalars and of dimensionless products: error of states",
        "dimensionless .0061, .0089, .0435; dimensional .0055, .3669, .1885",
        "made on demand",
        by_hand=(
            "`--quick`: dimensionless .0089, .0123, .0636; dimensional .0129, .3598, .2253; in full not run: about 90 h",
            "1",
            "25 min",
        ),
    ),
    Config(
        "plugins/geometric_images/gravity.yaml",
        "gravity of point masses from 5 and 20 images, published linear nets: test loss of an image",
        "curves: GI-Net below CNN",
        "made on demand",
        by_hand=(
            "GI-Net .068, .024; CNN .375, .209: met, at 10 and 50 images, too; quick .096, .045; .379, .274: met",
            "5",
            "37 min in all",
        ),
    ),
    Config(
        "plugins/geometric_images/charges.yaml",
        "field of moving charges ten steps later from 5 and 20 images, published nets: test loss of an image",
        "curves: GI-Net below CNN",
        "made on demand",
        by_hand=(
            "GI-Net 4.63, 3.17; CNN 6.02, 3.62: met but at 100 images; quick 5.41, 3.33; 6.78, 3.66; all linear maps 2.31, 1.15",
            "3",
            "70 min in all",
        ),
    ),
    Config(
        "plugins/geometric_images/flow.yaml",
        "the next velocity of a two-dimensional flow from 4 and 16 flows, a CNN with at least as many weights: relative error",
        "none",
        "made on demand",
        by_hand=("GI-Net .062, .055; CNN .102, .080; quick .065, .061; .113, .091", "3", "40 min in all"),
    ),
    Config(
        "plugins/vegetation/emulation.yaml",
        "mean vegetation from raw and from dimensionless inputs, 64, 128, 256 runs, degree 2: test R^2",
        "none for this protocol",
        "made on demand",
        by_hand=("raw .152, .446, .578; dimensionless .164, .525, .622", "4 splits, seed 0", "3 min of processor time"),
    ),
    Config(
        "plugins/vegetation/equations.yaml",
        "three equations of vegetation found back from snapshots with 1 % noise: draws with exact support, largest error",
        "none",
        "made on demand",
        by_hand=("60 of 60, 9.7e-4", "60 draws, seed 0", "11 s of processor time"),
    ),
    Config(
        "plugins/vegetation/pattern.yaml",
        "vegetation over 200 days: maps, and means after 50, 100, 150, 200 days",
        "none",
        "made on demand",
        by_hand=("8.49, 3.08, 9.35, 8.75 g / m²", "3", "21 s of processor time"),
    ),
    Config(
        "custom/signals.yaml",
        "your own signals on your own graph; on the files of `sample.py`: test MSE of missing readings",
        "none",
        "your files",
        (Number(1, "1 cluster"), Number(4, "4"), Number(12, "12")),
    ),
    Config(
        "custom/classify.yaml",
        "a class for every node, or for every sample; on the files of `sample.py`: cross-entropy",
        "none",
        "your files",
        (Number(1, "1 cluster"), Number(4, "4"), Number(12, "12")),
    ),
    Config(
        "custom/regress.yaml",
        "a number for every sample, invariant; on the files of `sample.py`: test MSE",
        "none",
        "your files",
        (Number(1, "1 cluster"), Number(4, "4"), Number(12, "12")),
    ),
)


def config_table(recorded: Sequence[Trial]) -> str:
    """Every config with its numbers."""
    header = ("config", "makes", "published", "ours", "seeds", "time", "machine", "data")
    return markdown_rows(header, [config.cells(recorded) for config in CONFIGS], text=True)
