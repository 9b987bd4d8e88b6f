"""The look of the benchmarks' pages, light and dark, and the frame around their content."""

from __future__ import annotations

from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1d2433; --soft: #667085; --line: #e4e7ec; --card: #fff; --page: #f5f6f8;
  --blue: #2f6fde; --teal: #0f9b8e; --red: #c8372d; --amber: #b7791f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #98a2b3; --line: #2c3340; --card: #171c26;
  --page: #0f131a; --blue: #6ea0ff; --teal: #3fc9b9; --red: #ff7b72; --amber: #e3b341; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; letter-spacing: -.01em; } h2 { font-size: 18px; margin: 0; }
h3 { font-size: 13px; font-weight: 600; margin: 0 0 6px; color: var(--soft); }
h3.under { margin-top: 14px; } .soft { color: var(--soft); } p { margin: 4px 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 20px 22px;
  margin-top: 20px; }
.head { display: flex; justify-content: space-between; align-items: baseline; flex-wrap: wrap; gap: 4px 24px; }
.rate { font-size: 24px; font-weight: 650; font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 18px 28px; margin-top: 14px; }
.wide { overflow-x: auto; } svg { width: 100%; height: auto; display: block; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th { text-align: right; color: var(--soft); font-weight: 500; white-space: nowrap; }
td { text-align: right; white-space: nowrap; } th:first-child, td:first-child { text-align: left; }
th, td { padding: 6px 10px; border-bottom: 1px solid var(--line); } tr:last-child td { border-bottom: 0; }
.pill { border-radius: 9px; padding: 1px 8px; font-size: 12px; font-weight: 600; border: 1px solid currentColor; }
.aim, .must { color: var(--teal); } .miss, .failed { color: var(--red); }
ul { margin: 8px 0 0; padding-left: 20px; } li { margin: 3px 0; overflow-wrap: anywhere; }
.grid { stroke: var(--line); } .axis { stroke: var(--soft); } .tick { fill: var(--soft); font-size: 11px; }
.row { fill: var(--ink); font-size: 11.5px; } .name { fill: var(--soft); font-size: 11px; }
.area { fill: var(--blue); opacity: .16; } .edge { fill: none; stroke: var(--blue); stroke-width: 1.5; }
.mark { stroke-width: 1.4; stroke-dasharray: 5 4; } .average { stroke: var(--blue); } .threshold { stroke: var(--red); }
text.average, text.threshold { stroke: none; } text.average { fill: var(--blue); } text.threshold { fill: var(--red); }
.bar.client { fill: var(--blue); opacity: .8; } .bar.server { fill: var(--teal); opacity: .8; }
.notch { stroke: var(--card); stroke-width: 2; }
.key { white-space: nowrap; margin-left: 12px; font-weight: 500; }
.key::before { content: ""; display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 5px; }
.key.client::before { background: var(--blue); } .key.server::before { background: var(--teal); }
"""


def html(title: str, body: str) -> str:
    """A whole document that fetches nothing. ``title`` is text, ``body`` markup."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main>{body}</main></body></html>\n"
    )
