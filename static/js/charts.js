// Time series: <div data-chart="ID of a JSON script">. The shape of the JSON stands in docs/frontend.md.

const HEIGHT = 220;
const COLOURS = { green: "--tint-green", blue: "--tint-blue", red: "--tint-red", orange: "--tint-yellow", purple: "--tint-purple", gray: "--tint-gray" };

// CSS variables hold light-dark(); only a painted element knows which of the two it is.
function resolved(variable, within) {
  const probe = document.createElement("span");
  probe.style.color = `var(${variable})`;
  within.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

const translucent = (colour, percent) => `color-mix(in srgb, ${colour} ${percent}%, transparent)`;
const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const exact = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

function written(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "ms" && value >= 1000) return `${exact.format(value / 1000)} s`;
  return unit ? `${exact.format(value)} ${unit}` : exact.format(value);
}

function tooltip(host, figures, colours) {
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
          if (plot.series[at + 1].show) box.append(row(series.label, written(series.values[idx], figures.unit), colours[at]));
        });
        const flip = left + box.offsetWidth + 24 > plot.over.clientWidth;
        box.style.left = `${flip ? left - box.offsetWidth - 12 : left + 12}px`;
        box.style.top = `${Math.max(0, Math.min(top - 12, plot.over.clientHeight - box.offsetHeight))}px`;
      },
    },
  };
}

// uPlot draws what it is given: for a stack, each series is the sum of itself and those below it, drawn top first.
function stacked(series) {
  const sums = [];
  let below = [];
  for (const { values } of series) {
    below = values.map((value, at) => (value ?? 0) + (below[at] ?? 0));
    sums.push(below);
  }
  return sums;
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
    this.figures = JSON.parse(document.getElementById(this.element.dataset.chart).textContent);
    const { times, series, unit = "", stacked: isStack = false } = this.figures;
    const colours = series.map((each, at) => resolved(COLOURS[each.color] ?? Object.values(COLOURS)[at % 6], this.element));
    const columns = isStack ? stacked(series) : series.map((each) => each.values);
    const order = series.map((_, at) => at);
    this.element.setAttribute("role", "img");
    this.plot = new window.uPlot(this.options(series, colours, unit, order), [times, ...columns], this.element);
    this.plot.root.dataset.chartCanvas = "";
    if (isStack) this.fillBetween(series, colours);
    this.legend(series, colours, unit);
  }

  options(series, colours, unit) {
    const muted = resolved("--tblr-secondary-color", this.element);
    const grid = resolved("--tblr-border-color", this.element);
    const axis = { stroke: muted, font: "12px Inter, sans-serif", grid: { stroke: grid, width: 1 }, ticks: { show: false } };
    return {
      width: this.element.clientWidth || 600,
      height: HEIGHT,
      padding: [12, 8, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
      scales: { y: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] } },
      axes: [
        { ...axis, grid: { show: false }, space: 72 },
        { ...axis, size: 52, space: 40, values: (_, ticks) => ticks.map((tick) => (unit === "ms" ? written(tick, "ms") : compact.format(tick))) },
      ],
      series: [
        {},
        ...series.map((each, at) => ({
          label: each.label,
          stroke: colours[at],
          width: each.kind === "bars" ? 0 : 1.75,
          fill: each.kind === "bars" ? translucent(colours[at], 75) : translucent(colours[at], 9),
          paths: each.kind === "bars" ? window.uPlot.paths.bars({ size: [0.7, 24], radius: 0.15 }) : undefined,
          points: { show: false },
          spanGaps: false,
        })),
      ],
      plugins: [tooltip(this.element, this.figures, colours)],
    };
  }

  fillBetween(series, colours) {
    for (let at = series.length - 1; at > 0; at -= 1) {
      this.plot.addBand({ series: [at + 1, at], fill: translucent(colours[at], 75) });
    }
    this.plot.redraw();
  }

  legend(series, colours, unit) {
    const list = document.querySelector(`[data-chart-legend="${this.element.dataset.chart}"]`);
    if (!list) return;
    list.replaceChildren(...series.map((each, at) => {
      const button = Object.assign(document.createElement("button"), { type: "button" });
      const swatch = Object.assign(document.createElement("span"), { className: "chart-swatch" });
      swatch.style.background = colours[at];
      button.append(swatch, each.label);
      if (each.total !== undefined) button.append(Object.assign(document.createElement("b"), { textContent: written(each.total, unit) }));
      button.setAttribute("aria-pressed", "true");
      button.addEventListener("click", () => {
        const shown = !this.plot.series[at + 1].show;
        this.plot.setSeries(at + 1, { show: shown });
        button.setAttribute("aria-pressed", String(shown));
      });
      const item = document.createElement("li");
      item.append(button);
      return item;
    }));
  }

  resize() {
    const width = this.element.clientWidth;
    if (width && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }
}

const charts = new Map();
function start() {
  for (const [element, chart] of charts) {
    if (!element.isConnected) {
      chart.observer.disconnect();
      chart.plot.destroy();
      charts.delete(element);
    }
  }
  for (const element of document.querySelectorAll("[data-chart]")) {
    if (charts.has(element)) charts.get(element).draw();
    else charts.set(element, new Chart(element));
  }
}
start();
document.addEventListener("kaizen:theme", start);
document.addEventListener("kaizen:morphed", start);
document.addEventListener("htmx:load", start);
