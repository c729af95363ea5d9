"""Pieces that several pages show: badges, bars, tables, chart parts."""
