"""The style sheet of the page: paper and ink, one accent, light and dark."""

STYLE = """
:root{--paper:#fbfaf7;--card:#fff;--ink:#1e1d1b;--soft:#6a665e;--hair:#e5e1d8;--accent:#0f6a76;
--good:#1b7a48;--bad:#b4341f;--well:#f3f1eb;--box:#ff2d78;
--sans:ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;
--serif:"Iowan Old Style","Palatino Linotype",Palatino,"Book Antiqua",Georgia,"Noto Serif",serif;
--mono:ui-monospace,"SF Mono",Menlo,Consolas,"Noto Sans Mono","DejaVu Sans Mono",monospace}
@media (prefers-color-scheme:dark){:root{--paper:#161617;--card:#1f1f21;--ink:#ecebe7;
--soft:#a5a29a;
--hair:#37363a;--accent:#63c3d0;--good:#63c891;--bad:#f3897a;--well:#252528}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 var(--sans);
font-variant-numeric:tabular-nums}
main{max-width:1080px;margin:0 auto;padding:44px 32px 96px}
section{margin-top:80px}
h1,h2,h3{font-family:var(--serif);font-weight:600;line-height:1.15;margin:0;text-wrap:balance}
h1{font-size:clamp(34px,6vw,54px);letter-spacing:-.015em;overflow-wrap:anywhere}
h2{font-size:30px;letter-spacing:-.01em}
h3{font-size:21px;margin:48px 0 4px;overflow-wrap:anywhere}
h4{font-size:11.5px;font-weight:500;color:var(--soft);margin:0 0 1px;display:flex;gap:8px;
justify-content:space-between;align-items:center}
p{margin:0}
.top{display:flex;flex-wrap:wrap;gap:6px 28px;justify-content:space-between;font-size:14px;
color:var(--soft);margin-bottom:44px}
.top b{color:var(--accent);font-weight:600}
nav{display:flex;flex-wrap:wrap;gap:6px 20px}
a{color:inherit;text-decoration-color:var(--hair);text-underline-offset:4px}
a:hover{color:var(--accent)}
.story{font:21px/1.5 var(--serif);color:var(--ink);max-width:38em;margin-top:20px;text-wrap:pretty}
.lead{color:var(--soft);margin:8px 0 24px;max-width:42em}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:22px 28px;
margin:40px 0 0;padding:24px 0;border:solid var(--hair);border-width:1px 0}
dt{font-size:13px;color:var(--soft)}
dd{margin:2px 0 0;font-size:19px;font-weight:550}
pre{font:13px/1.6 var(--mono);background:var(--well);border-radius:8px;padding:14px 18px;
margin:24px 0 0;
overflow:auto;tab-size:2}
.command code{white-space:pre-wrap;overflow-wrap:anywhere}
.command span{display:inline-block;max-width:100%}
.versions{font-size:13px;color:var(--soft);margin-top:14px}
table{width:100%;border-collapse:collapse;margin-top:8px}
thead th{font-size:13px;font-weight:500;color:var(--soft);text-align:left;padding:0 0 8px}
th{font-weight:400;text-align:left;overflow-wrap:anywhere}
td{vertical-align:top}
td,tbody th{padding:9px 0}
tbody th[scope=row]{padding-right:24px;vertical-align:top}
tr.of th{font:600 18px/1.4 var(--serif);padding:26px 0 6px;border-bottom:1px solid var(--hair)}
tbody:first-of-type tr.of th{padding-top:10px}
.asked{font:13px/1.4 var(--mono);color:var(--soft);margin-left:14px}
.at{font:13px/1.4 var(--sans);color:var(--soft);margin-left:14px}
small{font-size:13px;color:var(--soft)}
.version,.lower{white-space:nowrap}
.version{margin:0 4px}
.definition{display:block;max-width:46em;text-wrap:pretty}
th:nth-child(2),td.value{width:210px;white-space:nowrap}
td.value b{font-weight:650;display:inline-block;min-width:56px}
th:nth-child(3),td.count{width:96px;text-align:right;color:var(--soft)}
.bar{display:inline-block;width:112px;height:7px;border-radius:4px;background:var(--hair);
margin-left:12px;vertical-align:1px;overflow:hidden}
.bar i{display:block;height:100%;background:var(--accent);border-radius:4px}
.warning{border-left:3px solid var(--bad);padding:4px 0 4px 16px;margin-top:24px;max-width:52em;
overflow-wrap:anywhere}
code{font-family:var(--mono);font-size:.88em}
pre code{font-size:inherit}
.charts{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:40px 44px;margin-top:28px}
figure{margin:0}
figcaption{display:flex;justify-content:space-between;gap:16px;align-items:baseline;
margin-bottom:6px;
overflow-wrap:anywhere}
figcaption b{font-weight:650;color:var(--accent)}
.chart svg{display:block;width:100%;height:auto;overflow:visible}
.chart text{font:12.5px var(--sans);fill:var(--soft);font-variant-numeric:tabular-nums}
.grid{stroke:var(--hair);stroke-width:1;fill:none}
.axis{stroke:var(--soft);stroke-width:1;fill:none;opacity:.6}
.raw{fill:none;stroke:var(--accent);stroke-width:1;opacity:.3;stroke-linejoin:round}
.line{fill:none;stroke:var(--accent);stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}
.dot{fill:var(--accent)}
.read rect{fill:transparent}
.read circle{fill:var(--paper);stroke:var(--accent);stroke-width:2;opacity:0;pointer-events:none}
.read:hover circle{opacity:1}
details.more{margin-top:36px}
summary{cursor:pointer;color:var(--accent);font-weight:550;width:fit-content}
a:focus-visible,summary:focus-visible,input:focus-visible+label
{outline:2px solid var(--accent);outline-offset:3px;border-radius:3px}
.tools{display:flex;flex-wrap:wrap;gap:12px 36px;align-items:center;margin-top:18px;font-size:14px}
fieldset{border:0;margin:0;padding:0;display:flex;gap:4px;align-items:center}
legend{float:left;color:var(--soft);margin-right:8px;padding:0}
fieldset input{position:absolute;opacity:0;pointer-events:none}
fieldset label{padding:3px 12px;border-radius:99px;cursor:pointer}
input:checked+label{background:var(--ink);color:var(--paper)}
.legend{display:flex;flex-wrap:wrap;gap:6px 22px;color:var(--soft)}
.legend span{display:flex;gap:9px;align-items:center}
.task .lead{margin:0 0 18px;font-size:14px}
.task h3 .score{font:400 15px var(--sans);color:var(--soft);margin-left:10px}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(224px,1fr));gap:20px;
align-items:start}
.more .cards{margin-top:20px}
.card{background:var(--card);border:1px solid var(--hair);border-radius:10px;overflow:hidden;
min-width:0}
.frame{position:relative;margin:10px 10px 0}
.frame img,.frame svg{position:absolute;inset:0;width:100%;height:100%}
.frame img{object-fit:contain}
.frame svg{overflow:visible}
.crisp{image-rendering:pixelated}
.missing{aspect-ratio:1;background:var(--well);display:grid;place-items:center;color:var(--soft);font-size:13px;
text-align:center;padding:8px}
.under,.predicted,.reference{fill:none;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.under{stroke:#fff;stroke-width:4.5}
.predicted{stroke:var(--box);stroke-width:2.5}
.reference{stroke:#111;stroke-width:2;stroke-dasharray:6 5}
.words{padding:12px 14px 14px;display:grid;gap:9px;min-width:0}
.said{overflow-wrap:anywhere;white-space:pre-wrap;unicode-bidi:plaintext;line-height:1.4}
.prediction .said{font-weight:600}
.prompt>.said,.reference .said{font-size:15px}
.none{color:var(--soft);font-style:italic}
.loc{font:500 11.5px var(--mono);background:var(--well);border-radius:4px;padding:1px 3px;
margin:0 1px;
unicode-bidi:isolate;direction:ltr;display:inline-block}
ul{list-style:none;margin:0;padding:0}
li .said{display:inline-block;max-width:100%}
li small{margin-left:7px}
.rest{font-size:14px}
.rest .said{font-weight:400;max-height:14em;overflow:auto;margin-top:6px}
.mark{display:inline-flex;gap:4px;align-items:center;font-size:13px;font-weight:600}
.mark svg{width:15px;height:15px;fill:none;stroke:currentColor;stroke-width:2.4;
stroke-linecap:round;
stroke-linejoin:round}
.right .mark{color:var(--good)}
.wrong .mark{color:var(--bad)}
main:has(#show-right:checked) .card:not(.right),main:has(#show-wrong:checked) .card:not(.wrong)
{display:none}
#configuration details{margin-top:16px}
#notes{border-top:1px solid var(--hair);padding-top:20px;color:var(--soft);font-size:14px}
#notes h3{font-size:16px;margin:0 0 6px}
.gin{max-height:70vh}
.gin i{color:var(--soft);font-style:normal}
.series0{--series:#0f7f8c}.series1{--series:#d1495b}.series2{--series:#c98a00}
.series3{--series:#6a5acd}.series4{--series:#2f9e44}.series5{--series:#c2410c}
.series6{--series:#b5179e}.series7{--series:#7a7f87}
[class^=series] .line,[class^=series] circle{stroke:var(--series)}
[class^=series] .dot{fill:var(--series)}
.swatch{display:inline-block;width:14px;height:14px;border-radius:4px;background:var(--series);
flex:none}
h4 .swatch{margin-right:7px}
.charts+h3{margin-top:48px}
.legend{margin:10px 0}
.compared{overflow-x:auto;margin-top:24px}
.compared table{width:auto;min-width:60%}
.compared th,.compared td{padding:8px 28px 8px 0;text-align:left;width:auto;white-space:normal;
vertical-align:top;overflow-wrap:anywhere}
.compared tbody tr{border-top:1px solid var(--hair)}
.compared .best{color:var(--good)}
.differ{color:var(--bad)}
.beside{grid-template-columns:repeat(auto-fit,minmax(200px,300px));margin-bottom:28px}
.beside h4{justify-content:flex-start;margin-bottom:6px}
@media (max-width:640px){main{padding:24px 18px 64px}
section{margin-top:60px}
.story{font-size:19px}
.facts{grid-template-columns:repeat(2,minmax(0,1fr));gap:18px}
dd{font-size:17px}
.charts{grid-template-columns:minmax(0,1fr);gap:32px}
tbody th[scope=row]{padding-right:14px}
th:nth-child(2),td.value{width:66px}
th:nth-child(3),td.count{width:74px}
td.value b{min-width:0}
.bar{display:block;width:52px;margin:5px 0 0}
.frame{margin:10px}
.asked,.at{display:block;margin:2px 0 0}
.cards{grid-template-columns:minmax(0,1fr);gap:14px}
.card:not(.wide,.bare){display:grid;grid-template-columns:min(38%,150px) minmax(0,1fr);
align-items:start}
}
@media print{section{break-before:auto}.card,figure{break-inside:avoid}
.tools fieldset{display:none}}
"""
