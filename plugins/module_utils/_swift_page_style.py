# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the status page looks: on a screen by day and night, on a telephone, on paper.

Text has a contrast of 4.5 to its background at least, marks of 3. One colour is the accent; the
other means that something wants a look, and is never the only sign of it.
"""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf7; --card: #ffffff; --ink: #1b1f24; --soft: #59616b; --line: #dfddd6;
  --faint: #eeece6; --accent: #0b6b73; --wash: #d5e8e8; --alert: #a33b12; --alert-wash: #f8e6dd;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #121518; --card: #191d21; --ink: #e9ebed; --soft: #a2abb4; --line: #2f353b;
    --faint: #23282d; --accent: #62c9d0; --wash: #1f4348; --alert: #ff9b6f; --alert-wash: #3b241a;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  font-variant-numeric: tabular-nums lining-nums;
}
main, header, footer { max-width: 70rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 2.75rem; }
h1 { font-size: 1.75rem; line-height: 1.2; font-weight: 650; letter-spacing: -.015em; margin: 0; }
h2 { font-size: 1.0625rem; font-weight: 650; margin: 0 0 .25rem; letter-spacing: -.005em; }
p { margin: 0; }
.when, .note, footer { color: var(--soft); font-size: .875rem; }
.verdict { margin-top: .35rem; font-size: 1.0625rem; }
.verdict b { color: var(--accent); font-weight: 600; }
.verdict.alert b { color: var(--alert); }
section { margin-top: 2.5rem; }
.note { margin-bottom: 1rem; max-width: 44rem; }

.figures {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 1px;
  margin: 1.75rem 0 0; padding: 0; background: var(--line); border: 1px solid var(--line);
  border-radius: 10px; overflow: hidden;
}
.figures div { background: var(--card); padding: .85rem 1rem .9rem; }
.figures dt { color: var(--soft); font-size: .8125rem; }
.figures dd { margin: .1rem 0 0; font-size: 1.5rem; line-height: 1.2; font-weight: 600;
  letter-spacing: -.02em; white-space: nowrap; }
.figures small { font-size: .875rem; font-weight: 400; letter-spacing: 0; color: var(--soft); }
.figures .alert dd { color: var(--alert); }

.findings { list-style: none; margin: 0; padding: 0; border-left: 3px solid var(--alert); }
.findings li { padding: .4rem .9rem; background: var(--alert-wash); overflow-wrap: anywhere; }
.findings li + li { border-top: 1px solid var(--paper); }
.findings b { font-weight: 600; color: var(--alert); margin-right: .5rem; }

.where { display: grid; grid-template-columns: minmax(0, 28rem) minmax(0, 1fr);
  gap: 1.5rem 2rem; align-items: start; }
.where .bar { width: 3rem; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: var(--ink);
  font-variant-numeric: tabular-nums; }
.map { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.map .grid { stroke: var(--faint); stroke-width: 1; }
.map text.soft, .chart text { fill: var(--soft); font-size: 11px; }
.map text.halo { paint-order: stroke; stroke: var(--card); stroke-width: 4px;
  stroke-linejoin: round; }
.map .link { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 2 4; opacity: .75; }
.map .lead { stroke: var(--soft); stroke-width: 1; }
.map .name { font-size: 15px; font-weight: 600; }
.map .ring { fill: var(--card); stroke: var(--wash); stroke-width: 5; }
.map .arc { fill: none; stroke: var(--accent); stroke-width: 5; }
.map .alert .arc { stroke: var(--alert); }
.map .alert .ring { stroke: var(--alert-wash); }
.map .disk { fill: var(--card); stroke: var(--accent); stroke-width: 1; }
.map .used { fill: var(--accent); }
.map .disk.alert { fill: none; stroke: var(--alert); stroke-width: 1.5; }
.map .scale { stroke: var(--soft); stroke-width: 1.5; fill: none; }

.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; }
/* The title above says the same; who hears the page wants it at the table. */
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
.scroll { position: relative; }
th, td { padding: .42rem .75rem .42rem 0; text-align: right; border-bottom: 1px solid var(--line);
  vertical-align: baseline; white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--soft); font-weight: 500; font-size: .8125rem; vertical-align: bottom; }
tbody th, thead th:first-child { text-align: left; font-weight: 500; }
tbody th small { color: var(--soft); font-weight: 400; margin-left: .35rem; }
td small { color: var(--soft); }
td.alert, td .alert { color: var(--alert); font-weight: 600; }
.scroll tbody th { position: sticky; left: 0; background: var(--paper); padding-right: .6rem; }
tr.site th { padding-top: 1.1rem; color: var(--soft); font-weight: 500; font-size: .8125rem; }
code { font: .8125rem ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
td code { color: var(--soft); }

.bar { display: inline-block; width: 5.5rem; height: .5rem; margin-left: .6rem; border-radius: 2px;
  background: var(--faint); position: relative; vertical-align: baseline; overflow: hidden; }
.bar i { position: absolute; top: 0; bottom: 0; left: 0; background: var(--accent); }
.bar.alert i { background: var(--alert); }
.bar.off { width: 4.5rem; }
.pair { display: inline-flex; align-items: baseline; justify-content: flex-end; }

.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr));
  gap: 1rem; margin: 0; }
.charts figure { margin: 0; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; padding: .8rem 1rem .7rem; }
.charts figcaption { display: flex; justify-content: space-between; align-items: baseline;
  gap: .5rem; font-size: .8125rem; color: var(--soft); margin-bottom: .35rem; }
.charts figcaption b { color: var(--ink); font-size: 1.0625rem; font-weight: 600; }
.chart .area { fill: var(--wash); opacity: .6; }
.chart .curve { fill: none; stroke: var(--accent); stroke-width: 1.75; stroke-linejoin: round;
  stroke-linecap: round; }
.chart .base { stroke: var(--line); stroke-width: 1; }
.chart .dot { fill: var(--accent); }
.chart .hit { fill: transparent; }
.chart .hit:hover { fill: var(--accent); fill-opacity: .12; }

details { margin-top: 1rem; font-size: .875rem; }
summary { cursor: pointer; color: var(--accent); }
summary:focus-visible, .scroll:focus-visible { outline: 2px solid var(--accent);
  outline-offset: 2px; }
footer { margin-top: 3.5rem; padding-bottom: 3rem; }
footer p { border-top: 1px solid var(--line); padding-top: 1rem; overflow-wrap: anywhere; }

@media (max-width: 52rem) {
  .where { grid-template-columns: minmax(0, 1fr); }
  header { padding-top: 1.75rem; }
  main, header, footer { padding-left: 1rem; padding-right: 1rem; }
  .figures { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .figures dd { font-size: 1.3rem; }
  .bar { width: 3.5rem; }
}
@media print {
  :root { --paper: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb; --faint: #eee;
    --accent: #0b5b62; --wash: #cfe3e3; --alert: #8f2f0a; --alert-wash: #fff; }
  body { font-size: 10pt; }
  header { padding-top: 0; }
  section { break-inside: avoid; margin-top: 1.5rem; }
  .scroll { overflow: visible; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""
