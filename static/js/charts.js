// Time series: <div data-chart="ID of a JSON script">. The shape of the JSON stands in docs/frontend.md.

const HEIGHT = 220;
const COLOURS = ["blue", "green", "purple", "orange", "red", "gray"];

// CSS variables hold light-dark(); only a painted element knows which of the two it is.
function resolved(variable, within) {
  const probe = document.createElement("span");
  probe.style.color = `var(${variable})`;
  within.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

// uPlot's table of tick formats: step in seconds, format, and what is added when the year, month, day … changes.
const DAY = "\n{D} {MMM}";
const DATES = [
  [86400, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", DAY, null, DAY, null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", DAY, null, DAY, null, null, null, 1],
];

// Steps between ticks, in seconds: uPlot's own, and two minutes, without which a window of four has no tick at all.
const SPANS = [1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 14400, 21600, 28800, 43200, ...[1, 2, 4, 7, 14, 28, 56].map((days) => days * 86400)];

// Half an execution is no tick.
const WHOLE = [...Array(13).keys()].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power));

const translucent = (colour, percent) => `color-mix(in srgb, ${colour} ${percent}%, transparent)`;
const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const exact = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

function written(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "ms" && value >= 1000) return `${exact.format(value / 1000)} s`;
  return unit ? `${exact.format(value)} ${unit}` : exact.format(value);
}

function tooltip(figures, colours, hidden) {
  const box = Object.assign(document.createElement("div"), { className: "chart-tip", hidden: true });
  const row = (name, text, colour) => {
    const line = document.createElement("div");
    if (colour) {
      const swatch = Object.assign(document.createElement("span"), { className: "chart-swatch" });
      swatch.style.background = colour;
      line.append(swatch);
    }
    line.append(name);
    if (text !== undefined) line.append(Object.assign(document.createElement("b"), { textContent: text }));
    return line;
  };
  return {
    hooks: {
      init: (plot) => plot.over.append(box),
      setCursor: (plot) => {
        const { idx, left, top } = plot.cursor;
        box.hidden = idx === null || idx === undefined || left < 0;
        if (box.hidden) return;
        box.replaceChildren(row(clock.format(new Date(figures.times[idx] * 1000))));
        figures.series.forEach((series, at) => {
          if (!hidden.has(at)) box.append(row(series.label, written(series.values[idx], figures.unit), colours[at]));
        });
        const flip = left + box.offsetWidth + 24 > plot.over.clientWidth;
        box.style.left = `${flip ? left - box.offsetWidth - 12 : left + 12}px`;
        box.style.top = `${Math.max(0, Math.min(top - 12, plot.over.clientHeight - box.offsetHeight))}px`;
      },
    },
  };
}

// What stands between two gaps makes no line; it is drawn as a point.
function lonely(plot, at, shown) {
  if (!shown) return null;
  const values = plot.data[at];
  const there = (index) => values[index] !== null && values[index] !== undefined;
  return [...values.keys()].filter((index) => there(index) && !there(index - 1) && !there(index + 1));
}

// uPlot draws what it is given. A stack is drawn as sums, the highest first, so that each covers the one above it.
function sums(series, hidden) {
  let below = [];
  return series.map(({ values }, at) => {
    if (!hidden.has(at)) below = values.map((value, index) => (value ?? 0) + (below[index] ?? 0));
    return below;
  });
}

class Chart {
  constructor(element) {
    this.element = element;
    this.observer = new ResizeObserver(() => this.resize());
    this.draw();
    this.observer.observe(element);
  }

  draw() {
    this.plot?.destroy();
    this.drawnFrom = this.element.dataset.chart;
    this.figures = JSON.parse(document.getElementById(this.drawnFrom).textContent);
    this.hidden ??= new Set();
    const { series, stacked = false, unit = "" } = this.figures;
    const colours = series.map((each, at) => resolved(`--chart-${each.color ?? COLOURS[at % COLOURS.length]}`, this.element));
    // Position in the plot → position in the figures.
    this.order = series.map((_, at) => (stacked ? series.length - 1 - at : at));
    this.element.setAttribute("role", "img");
    this.plot = new window.uPlot(this.options(colours), this.columns(), this.element);
    this.plot.root.dataset.chartCanvas = "";
    this.legend(series, colours, unit);
  }

  columns() {
    const { times, series, stacked } = this.figures;
    const values = stacked ? sums(series, this.hidden) : series.map((each) => each.values);
    return [times, ...this.order.map((at) => values[at])];
  }

  options(colours) {
    const { series, stacked, unit = "" } = this.figures;
    const muted = resolved("--tblr-secondary-color", this.element);
    const grid = resolved("--tblr-border-color", this.element);
    const axis = { stroke: muted, font: "12px Inter, sans-serif", grid: { stroke: grid, width: 1 }, ticks: { show: false } };
    const tick = (value) => (unit === "ms" ? written(value, "ms") : compact.format(value));
    return {
      width: this.element.clientWidth || 600,
      height: this.height,
      // To the right, room for half of the last label.
      padding: [12, 28, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      scales: { x: { range: (_, min, max) => this.span(min, max) }, y: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] } },
      axes: [
        { ...axis, grid: { show: false }, space: 72, incrs: SPANS, values: DATES },
        { ...axis, size: 52, space: 40, values: (_, ticks) => ticks.map(tick), ...(unit === "ms" ? {} : { incrs: WHOLE }) },
      ],
      series: [{}, ...this.order.map((at) => this.look(series[at], at, colours[at], stacked))],
      plugins: [tooltip(this.figures, colours, this.hidden)],
    };
  }

  // Bars stand around their moment, so that the first and last need half a step more.
  span(min, max) {
    const { times, series } = this.figures;
    const half = series.some(({ kind }) => kind === "bars") && times.length > 1 ? (times[1] - times[0]) / 2 : 0;
    return [min - half, max + half];
  }

  look({ label, kind }, at, colour, stacked) {
    const bars = kind === "bars";
    return {
      label,
      show: !this.hidden.has(at),
      stroke: colour,
      width: bars ? 0 : 1.75,
      fill: bars || stacked ? colour : translucent(colour, 9),
      paths: bars ? window.uPlot.paths.bars({ size: [0.72, 28], radius: stacked ? 0 : 0.15 }) : undefined,
      points: { show: !bars, size: 4, fill: colour, filter: lonely },
      spanGaps: false,
    };
  }

  toggle(at) {
    if (!this.hidden.delete(at)) this.hidden.add(at);
    this.plot.setSeries(this.order.indexOf(at) + 1, { show: !this.hidden.has(at) });
    if (this.figures.stacked) this.plot.setData(this.columns());
  }

  legend(series, colours, unit) {
    const list = document.querySelector(`[data-chart-legend="${this.element.dataset.chart}"]`);
    list?.replaceChildren(...series.map((each, at) => {
      const button = Object.assign(document.createElement("button"), { type: "button" });
      const swatch = Object.assign(document.createElement("span"), { className: "chart-swatch" });
      swatch.style.background = colours[at];
      button.append(swatch, each.label);
      if (each.total !== undefined) button.append(Object.assign(document.createElement("b"), { textContent: written(each.total, unit) }));
      button.setAttribute("aria-pressed", String(!this.hidden.has(at)));
      button.addEventListener("click", () => {
        this.toggle(at);
        button.setAttribute("aria-pressed", String(!this.hidden.has(at)));
      });
      const item = document.createElement("li");
      item.append(button);
      return item;
    }));
  }

  // The name of the figures is made of their content: another name, other figures.
  refresh() {
    if (this.element.dataset.chart !== this.drawnFrom) this.draw();
  }

  get height() {
    return this.figures.height ?? HEIGHT;
  }

  resize() {
    const width = this.element.clientWidth;
    if (width && width !== this.plot.width) this.plot.setSize({ width, height: this.height });
  }
}

const charts = new Map();
function start(redraw = false) {
  for (const [element, chart] of charts) {
    if (!element.isConnected) {
      chart.observer.disconnect();
      chart.plot.destroy();
      charts.delete(element);
    }
  }
  for (const element of document.querySelectorAll("[data-chart]")) {
    if (!charts.has(element)) charts.set(element, new Chart(element));
    else if (redraw) charts.get(element).draw();
    else charts.get(element).refresh();
  }
}
start();
document.addEventListener("kaizen:theme", () => start(true));
document.addEventListener("kaizen:morphed", () => start());
document.addEventListener("htmx:load", () => start());
