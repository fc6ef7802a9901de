"""What can be read in print: a figure no wider than the text of a page, and no letter smaller than 7 points."""

from matplotlib.figure import Figure
from matplotlib.text import Text

from gnet.study.plots import PAGE


def unreadable(figure: Figure) -> list[str]:
    """What breaks the rule, in words."""
    figure.draw_without_rendering()
    width = float(figure.get_size_inches()[0])
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    small = [f"{text.get_text()!r} has {text.get_fontsize():g} points" for text in texts if text.get_fontsize() < 7]
    return [f"{width:g} inches wide"] * (width > PAGE + 1e-9) + small
