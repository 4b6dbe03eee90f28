"""The style sheet of the report: light and dark, wide and narrow."""

from __future__ import annotations

_LIGHT = """
  --ground: #fbfaf7; --sheet: #ffffff; --ink: #1f2428; --soft: #5b646c; --line: #e3e1da; --fill: #eeece6;
  --accent: #0b6aa8; --s0: #0b6aa8; --s1: #c9540a; --s2: #07845f; --s3: #a94f84; --s4: #b07a00; --s5: #2f97cf;
  --s6: #6b6f73; --shade: 0 1px 2px rgba(30, 30, 20, .05), 0 4px 16px rgba(30, 30, 20, .04); color-scheme: light;
"""
_DARK = """
  --ground: #14171a; --sheet: #1b1f23; --ink: #e8e6e1; --soft: #a2abb3; --line: #2f353b; --fill: #272d33;
  --accent: #6bb8ea; --s0: #5aaee4; --s1: #f08a4b; --s2: #3dbb94; --s3: #dd8fbd; --s4: #e6b13a; --s5: #9ad4f5;
  --s6: #a3a8ad; --shade: none; color-scheme: dark;
"""
_SERIES = "".join(
    f"i.s{k} {{ background: var(--s{k}); }} .line.s{k} {{ stroke: var(--s{k}); }} "
    f".mark.s{k} {{ fill: var(--s{k}); stroke: var(--s{k}); }}\n"
    for k in range(7)
)
_THEMES = f"""
:root {{ {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ {_DARK} }} }}
:root[data-theme=dark] {{ {_DARK} }}
"""
_SHEET = """
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 4.5rem; -webkit-text-size-adjust: 100%; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0; background: var(--ground); color: var(--ink); font: 1rem/1.6 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", Arial, "Noto Sans", "DejaVu Sans", sans-serif; font-variant-numeric: tabular-nums; }
a { color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 4px; }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: .5rem; z-index: 9; background: var(--sheet); padding: .5rem 1rem; }
.top { display: flex; align-items: baseline; justify-content: space-between; gap: 1rem; flex-wrap: wrap; }
h1 { font-size: clamp(1.9rem, 5vw, 2.6rem); font-weight: 650; letter-spacing: -.02em; line-height: 1.15; margin: 0;
  overflow-wrap: anywhere; }
h1 small { font-size: .5em; font-weight: 400; color: var(--soft); letter-spacing: 0; margin-left: .6em; }
button, select { font: inherit; color: inherit; background: var(--sheet); border: 1px solid var(--line);
  border-radius: .5rem; padding: .3rem .8rem; cursor: pointer; }
button:hover { border-color: var(--accent); }
#theme { font-size: .85rem; color: var(--soft); }
nav { position: sticky; top: 0; z-index: 5; background: var(--ground); }
body > header { display: contents; }
.top, nav { padding-inline: max(1.25rem, calc(50vw - 38rem)); }
.top { padding-top: 2.5rem; padding-bottom: .75rem; }
nav { border-bottom: 1px solid var(--line); overflow-x: auto; scrollbar-width: none; }
nav ul { display: flex; gap: 1.4rem; list-style: none; margin: 0; padding: .7rem 0; white-space: nowrap; }
nav a { color: var(--soft); text-decoration: none; font-size: .92rem; }
nav a:hover, nav a.here { color: var(--accent); }
main { padding: 0 max(1.25rem, calc(50vw - 38rem)) 3rem; }
section { padding: 3rem 0 1rem; }
h2 { font-size: 1.55rem; font-weight: 620; letter-spacing: -.01em; line-height: 1.25; margin: 0 0 .4rem; }
h3 { font-size: 1.05rem; font-weight: 620; margin: 2rem 0 .5rem; }
.said { max-width: 46rem; margin: 0 0 1.5rem; color: var(--soft); }
#overview .said { color: var(--ink); font-size: 1.08rem; max-width: 50rem; }
.note { color: var(--soft); font-size: .88rem; max-width: 50rem; margin: .6rem 0; }
.callout { border-left: 4px solid var(--s4); background: var(--fill); border-radius: 0 .6rem .6rem 0;
  padding: .9rem 1.2rem; max-width: 50rem; margin: 1.25rem 0; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1rem; margin: 1.5rem 0; }
.figures div { min-width: 0; background: var(--sheet); border: 1px solid var(--line); border-radius: .9rem;
  padding: 1rem 1.2rem; box-shadow: var(--shade); }
.figures dt { color: var(--soft); font-size: .9rem; }
.figures dd { margin: .15rem 0 0; font-size: 1.6rem; font-weight: 620; letter-spacing: -.01em; line-height: 1.25; }
.figures dd.note { font-size: .84rem; font-weight: 400; letter-spacing: 0; overflow-wrap: anywhere; }
details { margin: .6rem 0; }
summary { cursor: pointer; padding: .3rem 0; color: var(--soft); }
summary:hover { color: var(--accent); }
.scroll { overflow-x: auto; margin: .4rem 0 1rem; background: var(--sheet); border: 1px solid var(--line);
  border-radius: .9rem; box-shadow: var(--shade); }
table { border-collapse: collapse; width: 100%; font-size: .88rem; line-height: 1.4; }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
th, td { padding: .5rem .8rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  min-width: 3.2rem; }
tbody tr:last-child > * { border-bottom: 0; }
thead th { color: var(--soft); font-weight: 500; white-space: nowrap; vertical-align: bottom; }
tbody th { font-weight: 560; white-space: nowrap; position: sticky; left: 0; background: var(--sheet); }
.k { white-space: nowrap; }
.n { text-align: right; white-space: nowrap; }
td:not(.n, .k) { min-width: 10rem; max-width: 22rem; }
tbody tr:hover > * { background: var(--fill); }
.group th { color: var(--soft); font-weight: 500; padding-top: 1.1rem; background: var(--fill); }
.facts td, .heat td { min-width: 0; max-width: none; }
.facts td { overflow-wrap: anywhere; max-width: none; }
.facts thead { position: absolute; clip-path: inset(50%); }
code { font: .88em ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  overflow-wrap: anywhere; }
.heat { width: auto; }
.scroll:has(> .heat) { width: fit-content; max-width: 100%; padding: .5rem; }
.charts .plot li { grid-template-columns: 4.5rem 1fr auto; }
.charts .bars { grid-column: 2 / 4; }
.heat th, .heat td { padding: .35rem .5rem; border: 0; min-width: 2.6rem; }
.heat thead th { vertical-align: bottom; text-align: right; white-space: normal; max-width: 7rem; font-size: .8rem; }
.heat td { background: color-mix(in srgb, var(--accent) var(--v, 0%), transparent); text-align: right;
  border: 2px solid var(--sheet); border-radius: .4rem; }
.heat tbody tr:hover > td { background: color-mix(in srgb, var(--accent) var(--v, 0%), transparent); }
.heat .deep { color: var(--sheet); font-weight: 600; }
.plot, .legend { list-style: none; margin: .5rem 0; padding: 0; }
.plot li { display: grid; grid-template-columns: minmax(6rem, 15rem) 1fr auto; gap: .9rem; align-items: center;
  padding: .28rem 0; }
.plot .name { overflow-wrap: anywhere; line-height: 1.3; font-size: .92rem; }
.plot b { font-weight: 560; min-width: 6.2rem; text-align: right; font-size: .92rem; white-space: nowrap; }
.bars { display: grid; gap: .2rem; grid-column: 2 / 4; }
.bar { display: flex; gap: .9rem; align-items: center; }
.track { flex: 1; height: .62rem; background: var(--fill); border-radius: .31rem; overflow: hidden; }
.track i { display: block; height: 100%; border-radius: .31rem; }
.dots { position: relative; height: 1.1rem; margin: 0 .5rem; background:
  linear-gradient(var(--line), var(--line)) center / 100% 1px no-repeat,
  repeating-linear-gradient(90deg, var(--line) 0 1px, transparent 1px 25%); border-right: 1px solid var(--line); }
.scale { position: relative; height: 1rem; margin: 0 .5rem; font-size: .78rem; color: var(--soft); }
.scale span { position: absolute; transform: translateX(-50%); }
.dot { position: absolute; top: 50%; width: .8rem; height: .8rem; margin: -.4rem 0 0 -.4rem; border-radius: 50%;
  border: 2px solid var(--s0); background: var(--sheet); }
.dot.val { background: var(--s0); }
.classes li + li { border-top: 1px solid var(--line); }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; font-size: .88rem; }
.legend li { display: inline-flex; align-items: center; gap: .4rem; }
.legend small { color: var(--soft); }
.chip { display: inline-flex; align-items: center; gap: .45rem; overflow-wrap: anywhere; }
.chip i { flex: none; width: .85rem; height: .85rem; border-radius: .25rem;
  box-shadow: 0 0 0 1px rgba(128, 128, 128, .55); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 1.25rem; }
.charts > div > h3 { margin-top: .5rem; }
.chart { margin: 0; background: var(--sheet); border: 1px solid var(--line); border-radius: .9rem; padding: 1rem 1.1rem;
  box-shadow: var(--shade); min-width: 0; max-width: 40rem; }
.chart figcaption { display: flex; justify-content: space-between; flex-wrap: wrap; gap: 0 1rem; font-size: .92rem; }
.chart figcaption b { font-weight: 600; overflow-wrap: anywhere; }
.chart figcaption span { color: var(--soft); font-size: .84rem; }
.chart > svg { display: block; width: 100%; height: auto; margin-top: .5rem; }
.chart text { fill: var(--soft); font-size: 13px; }
.grid { stroke: var(--line); stroke-width: 1; }
.line { fill: none; stroke-width: 2.4; stroke-linejoin: round; stroke-linecap: round; }
.line.thin { stroke-width: 1.4; opacity: .75; }
.line.d1 { stroke-dasharray: 7 5; } .line.d2 { stroke-dasharray: 2 5; }
.controls { display: flex; flex-wrap: wrap; align-items: center; gap: .3rem 1rem; margin: 1rem 0; font-size: .92rem; }
.controls input { flex: 1; min-width: 8rem; max-width: 20rem; accent-color: var(--accent); }
output { min-width: 3.2rem; }
.key { display: grid; grid-template-columns: auto 1fr; gap: .1rem 1.2rem; align-items: baseline; }
.key .label { color: var(--soft); font-size: .88rem; margin: 0; }
.key .note { grid-column: 1 / -1; margin: .2rem 0; }
.class { background: var(--sheet); border: 1px solid var(--line); border-radius: .9rem; padding: .4rem 1.1rem;
  margin: 1rem 0; box-shadow: var(--shade); }
.class > summary { padding: .55rem 0; color: var(--ink); font-size: 1.05rem; font-weight: 600; }
.class > summary .chip { vertical-align: middle; }
.inside { border-left: 2px solid var(--line); padding-left: 1.1rem; margin-left: .3rem; }
.aside { color: var(--soft); font-weight: 400; font-size: .88rem; margin-left: 1rem; }
.card { padding: .7rem 0 1.1rem; border-top: 1px solid var(--line); }
.card header { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; align-items: baseline; margin-bottom: .5rem; }
.card header .legend { margin: 0; }
.card header code { color: var(--soft); }
.figure { font-weight: 560; }
.layers { display: grid; grid-template-columns: repeat(auto-fit, minmax(6.4rem, 1fr)); gap: .8rem; align-items: start; }
.layer { display: block; padding: 0; border: 0; background: none; text-align: center; font-size: .82rem;
  color: var(--soft); min-width: 0; line-height: 1.35; }
button.layer:hover .frame { box-shadow: 0 0 0 2px var(--accent); }
.frame { position: relative; display: block; aspect-ratio: var(--ratio); border-radius: .5rem; overflow: hidden;
  margin-bottom: .3rem; background: #20242a center / 100% 100% no-repeat; }
.frame img { display: block; width: 100%; height: 100%; }
.mask img, .views .mask { image-rendering: pixelated; }
.based .over { opacity: var(--strength, .75); }
.based .mask .frame, .based .map .frame { background-image: var(--base); }
.empty { display: grid; place-items: center; color: #a2abb3; }
dialog { border: 0; border-radius: 1rem; padding: 1.2rem; background: var(--sheet); color: var(--ink);
  width: min(46rem, calc(100vw - 1.5rem)); max-height: calc(100dvh - 1.5rem);
  box-shadow: 0 20px 60px rgba(0, 0, 0, .4); }
dialog::backdrop { background: rgba(10, 12, 14, .72); }
.views { position: relative; margin: .8rem auto; aspect-ratio: var(--ratio); border-radius: .6rem; overflow: hidden;
  background: #20242a; width: min(100%, calc(62dvh * (var(--ratio)))); }
.views img { position: absolute; inset: 0; width: 100%; height: 100%; }
.views .a { clip-path: inset(0 calc(100% - var(--cut, 50%)) 0 0); }
.views .b { clip-path: inset(0 0 0 var(--cut, 50%)); }
.views .over { opacity: var(--strength, .75); }
.views::after { content: ""; position: absolute; inset: 0 auto 0 var(--cut, 50%); width: 2px; margin-left: -1px;
  background: #fff; box-shadow: 0 0 3px #000; }
.row { display: flex; flex-wrap: wrap; gap: .5rem .8rem; align-items: center; justify-content: space-between; }
.row label { display: flex; gap: .5rem; align-items: center; font-size: .9rem; min-width: 0; }
.row input { flex: 1; accent-color: var(--accent); min-width: 6rem; }
.row .wide { flex: 1 1 100%; }
.row h3 { margin: 0; overflow-wrap: anywhere; }
footer { padding: 1.5rem max(1.25rem, calc(50vw - 38rem)) 3rem; border-top: 1px solid var(--line); color: var(--soft);
  font-size: .88rem; }
@media (max-width: 40rem) {
  .top { padding-top: 1.5rem; }
  section { padding-top: 2.2rem; }
  .plot li { grid-template-columns: 1fr auto; gap: .15rem .8rem; padding: .45rem 0; }
  .plot .dots, .plot .scale { grid-column: 1 / -1; grid-row: 2; }
  .plot .bars { grid-column: 1 / -1; }
  .plot b { min-width: 5rem; }
  .class { padding-inline: .8rem; }
  .figures { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .7rem; }
  .figures div { padding: .8rem .9rem; }
  .figures dd { font-size: 1.15rem; }
  .layers { grid-template-columns: repeat(4, 1fr); gap: .5rem; font-size: .95em; }
  .layer { font-size: .74rem; }
  tbody th { white-space: normal; max-width: 8.5rem; }
}
@media print { nav, .controls, #theme { display: none; } section { break-inside: avoid-page; } }
"""
STYLE = _THEMES + _SHEET + _SERIES + ".mark { stroke-width: 2; } .mark.ring, .mark.diamond { fill: var(--sheet); }\n"
