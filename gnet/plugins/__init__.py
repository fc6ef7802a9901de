"""The other symmetry groups: one self-contained package per family, ours and strangers', found by name and imported when used."""

from gnet.plugins.registry import Family, Listed, catalog, catalog_text, families

__all__ = ["Family", "Listed", "catalog", "catalog_text", "families"]
