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
:root { --s0: #2f6fde; --s1: #0f9b8e; --s2: #d97706; --s3: #8b5cf6; --s4: #c8372d; --s5: #4d8a1f; --s6: #b83280;
  --s7: #7a8699; }
@media (prefers-color-scheme: dark) { :root { --s0: #6ea0ff; --s1: #3fc9b9; --s2: #f0a848; --s3: #b197fc; --s4: #ff7b72;
  --s5: #8fcf5c; --s6: #f078bd; --s7: #98a2b3; } }
.s0 { --c: var(--s0); } .s1 { --c: var(--s1); } .s2 { --c: var(--s2); } .s3 { --c: var(--s3); } .s4 { --c: var(--s4); }
.s5 { --c: var(--s5); } .s6 { --c: var(--s6); } .s7 { --c: var(--s7); }
.line { fill: none; stroke: var(--c); stroke-width: 1.5; stroke-linejoin: round; } .dot { fill: var(--c); }
.band { fill: var(--c); opacity: .82; } .swatch::before { background: var(--c); }
.limit { stroke: var(--red); stroke-width: 1.6; } .event { stroke: var(--amber); stroke-width: 1.2; opacity: .85; }
text.event { stroke: none; fill: var(--amber); font-size: 10.5px; font-weight: 600; opacity: 1; }
text.inside { fill: var(--card); font-size: 11px; font-weight: 600; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 14px; margin: 6px 0 0; font-size: 12.5px; color: var(--soft); }
.legend .key { margin-left: 0; } .spark { width: 150px; height: 26px; display: inline-block; vertical-align: middle; }
.numbers { display: flex; flex-wrap: wrap; gap: 8px 36px; margin: 10px 0 2px; }
.numbers div { font-size: 22px; font-weight: 650; font-variant-numeric: tabular-nums; }
.numbers small { display: block; font-size: 12px; font-weight: 500; color: var(--soft); }
.events { margin: 12px 0 0; padding: 0; list-style: none; columns: 2 320px; font-size: 13px; }
.events li { margin: 0 0 4px; break-inside: avoid; }
.events b { color: var(--amber); display: inline-block; min-width: 26px; }
.half { max-width: 640px; }
details { margin-top: 14px; } summary { cursor: pointer; color: var(--soft); font-size: 13px; }
h3.under { margin-top: 20px; } .plots + .wide { margin-top: 18px; }
"""


def html(title: str, body: str) -> str:
    """A whole document that fetches nothing. ``title`` is text, ``body`` markup."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main>{body}</main></body></html>\n"
    )
