// Charts by plotly.js, which the gateway serves from plotly's own wheel. It is loaded with the first chart.

let loading;

// The library adds the style of its maps unless an element of this id is there. The pages have no maps, and their
// policy would refuse the style.
const MAP_STYLE = "9f215cf04c5486422605d13261cb87401f4e7763b6296af81e98efbc0130da53";

export function library() {
  loading ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = "/dashboard/plotly.js";
    script.onload = () => done(window.Plotly ?? window.moduleName);
    script.onerror = () => failed(new Error("the chart library can't be loaded"));
    document.head.append(Object.assign(document.createElement("meta"), { id: MAP_STYLE }), script);
  });
  return loading;
}

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const COLOURS = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--c8"];

async function draw(place, traces, layout = {}) {
  const plotly = await library();
  const axis = { gridcolor: style("--line"), zerolinecolor: style("--line"), automargin: true };
  await plotly.newPlot(place, traces, {
    autosize: true, margin: { l: 8, r: 8, t: 8, b: 8 }, paper_bgcolor: "transparent", plot_bgcolor: "transparent",
    font: { color: style("--text"), family: "system-ui, sans-serif", size: 12 },
    colorway: COLOURS.map(style), hovermode: "closest", showlegend: traces.length > 1,
    legend: { orientation: "h", y: -0.2 }, ...layout,
    xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, rangemode: "tozero", ...layout.yaxis },
  }, { displayModeBar: false, responsive: true });
}

/** Lines over buckets: `series` are {name, values}. */
export const lines = (place, buckets, series) => draw(place, series.map(({ name, values }) => ({
  type: "scatter", mode: buckets.length > 40 ? "lines" : "lines+markers", name, x: buckets, y: values, line: { width: 2 },
})), { hovermode: "x unified", xaxis: { type: "category", nticks: 12 } });

/** Bars that lie: {name, value}, the largest on top. */
export const bars = (place, rows) => draw(place, [{
  type: "bar", orientation: "h", x: rows.map((row) => row.value).reverse(), y: rows.map((row) => short(row.name)).reverse(),
  hovertext: rows.map((row) => row.name).reverse(), hoverinfo: "x+text",
}], { yaxis: { type: "category", rangemode: "normal" } });

/** One number, large. */
export const figure = (place, value) => draw(place, [{ type: "indicator", mode: "number", value, number: { valueformat: ",.4~g" } }]);

/** Standing bars, for steps. */
export const columns = (place, names, series) => draw(place, series.map(({ name, values }) => ({
  type: "bar", name, x: names, y: values, text: values.map(String), textposition: "auto",
})), { xaxis: { type: "category" }, barmode: "group" });

export const heat = (place, cohorts, periods, rates) => draw(place, [{
  type: "heatmap", x: periods, y: cohorts, z: rates, colorscale: [[0, style("--ground")], [1, style("--c1")]],
  zmin: 0, hovertemplate: "%{y}, %{x}: %{z:.1%}<extra></extra>", showscale: false, xgap: 1, ygap: 1,
}], { xaxis: { type: "category", side: "top" }, yaxis: { type: "category", autorange: "reversed" } });

/** A Sankey diagram of a paths answer. */
export function flow(place, result) {
  const place_of = new Map(result.nodes.map((node, at) => [`${node.step} ${node.name}`, at]));
  const links = result.links.filter((link) =>
    place_of.has(`${link.step} ${link.from}`) && place_of.has(`${link.step + 1} ${link.to}`));
  return draw(place, [{
    type: "sankey", arrangement: "snap",
    node: { label: result.nodes.map((node) => short(node.name)), pad: 12, thickness: 14 },
    link: {
      source: links.map((link) => place_of.get(`${link.step} ${link.from}`)),
      target: links.map((link) => place_of.get(`${link.step + 1} ${link.to}`)),
      value: links.map((link) => link.count), color: style("--line"),
    },
  }]);
}

export const picture = async (place, name) =>
  (await library()).downloadImage(place, { format: "png", width: 1200, height: 600, filename: name });

const short = (name) => { const text = String(name); return text.length > 40 ? `${text.slice(0, 39)}…` : text; };
