"use strict";
/* What the charts to explore show, and their switches. */

const DATA = JSON.parse(document.getElementById("data")?.textContent ?? "[]");

for (const { columns, curves } of DATA) {
  for (const curve of curves) curve.points = curve.points.map((row) => Object.fromEntries(columns.map((name, i) => [name, row[i]])));
}

const digits = (value) => value.toFixed(value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2);
const trim = (text) => text.replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, "");
function percent(fraction) {
  const value = 100 * fraction;
  if (value >= 99.95) return "100 %";
  return `${value.toFixed(value >= 9.995 ? 1 : value >= 0.9995 ? 2 : value >= 0.0995 ? 3 : 4)} %`;
}
function count(number) {
  for (const [size, unit] of [[1e9, " G"], [1e6, " M"], [1e3, " k"]]) if (number >= size * 0.9995) return digits(number / size) + unit;
  return String(Math.round(number));
}
const bytes = (number) => (number < 999.5 ? `${Math.round(number)} B` : `${count(number)}B`);
/* With no-break spaces, so that a number stays on one line with its unit. */
const number = (metric, value) => (metric.percent ? value.toFixed(2) : String(Number(value.toPrecision(4))));
const plusMinus = (metric, mean, std) => `${number(metric, mean)}${std === null ? "" : `\u00a0±\u00a0${number(metric, std)}`}${metric.unit ? `\u00a0${metric.unit}` : ""}`;
const trials = (n, most) => (n === most ? String(n) : `${n} of ${most}`);
const tick = (format) => (value) => trim(format(value));

const AXES = {
  "fraction-log": { key: "fraction", log: true, format: tick(percent), name: "Fraction of real, log", short: "Fraction of real (log; dense left, sparse right)", label: "Trainable parameters as a fraction of the real twin's (log scale; dense left, sparse right)" },
  "fraction-linear": { key: "fraction", log: false, low: 0, format: tick(percent), name: "Fraction of real, linear", short: "Fraction of real (dense left, sparse right)", label: "Trainable parameters as a fraction of the real twin's (linear scale; dense left, sparse right)" },
  macs: { key: "macs", log: true, format: tick(count), name: "MACs", short: "MACs an image (log; dense left, sparse right)", label: "Multiply-accumulates for one image, kept weights only (log scale; dense left, sparse right)" },
  bytes: { key: "bytes", log: true, format: tick(bytes), name: "Stored bytes", short: "Stored bytes (log; dense left, sparse right)", label: "Bytes to store the trained ticket (log scale; dense left, sparse right)" },
};

/* Networks that are nearly as good as the best one are told apart only when the bad ones are out of sight. */
const SPANS = [["all", "All"], ["10", "Within 10 points of the best"], ["2", "Within 2"]];

function option(group, type, value, text, checked, icon) {
  const label = html("label", { class: "option" }), input = html("input", { type, name: group, value });
  input.checked = checked;
  label.append(input);
  if (icon) label.append(icon);
  label.append(html("span", {}, text));
  return label;
}

const yAxis = (metric) => ({ label: metric.axis, format: (v) => (metric.percent ? trim(v.toFixed(2)) : String(Number(v.toPrecision(3)))), reverse: metric.reverse });

function accuracyChart(figure, experiment, id) {
  const chart = new Chart(figure.querySelector(".plot"), `accuracy against size, ${experiment.title}`);
  const axis = figure.querySelector(".axis"), span = figure.querySelector(".span"), show = figure.querySelector(".show");
  for (const [value, one] of Object.entries(AXES)) axis.append(option(`${id}-axis`, "radio", value, one.name, value === "fraction-log"));
  for (const [value, text] of experiment.metric.percent && !experiment.metric.reverse ? SPANS : SPANS.slice(0, 1)) span.append(option(`${id}-span`, "radio", value, text, value === "all"));
  experiment.curves.forEach((curve, i) => show.append(option(`${id}-show`, "checkbox", `curve-${i}`, curve.label, true, swatch(curve))));
  const several = experiment.curves.some((curve) => curve.most > 1);
  if (several) show.append(option(`${id}-show`, "checkbox", "bands", "± standard deviation", true));
  const published = experiment.published.length > 0;
  if (published) show.append(option(`${id}-show`, "checkbox", "published", experiment.published[0].source, true, swatch({ ...experiment.published[0], faint: true, dash: [5, 3] })));
  const update = () => {
    const chosen = AXES[axis.querySelector(":checked").value];
    const on = new Set([...show.querySelectorAll(":checked")].map((input) => input.value));
    const series = [];
    const weights = chosen.key === "fraction";
    if (published) show.querySelector("[value=published]").disabled = !weights;
    if (published && weights && on.has("published"))
      for (const curve of experiment.published)
        series.push({ ...curve, faint: true, dash: [5, 3], points: curve.points.map(([x, y]) => ({ x, y, published: true, fraction: x, top1: y })) });
    experiment.curves.forEach((curve, i) => {
      if (on.has(`curve-${i}`)) series.push({ ...curve, points: curve.points.map((p) => ({ ...p, x: p[chosen.key], y: p.top1, hollow: p.n < curve.most })).filter((p) => p.x > 0) });
    });
    const notes = [published && !weights && "Published curves are given by fraction of real only."];
    notes.push(series.some((one) => one.points.some((p) => p.hollow)) && "Hollow markers: fewer trials than the curve has at its best.");
    const points = Number(span.querySelector(":checked").value), best = Math.max(...series.flatMap((one) => one.points.map((p) => p.y)));
    const part = points && series.length ? { low: best - points, high: Math.min(100, best + points / 8) } : {};
    if (points) notes.push(`Only what is within ${points} percentage points of the best is in sight.`);
    figure.querySelector(".axis-note").textContent = notes.filter(Boolean).join(" ");
    chart.show({
      series, bands: on.has("bands"), x: { ...chosen, reverse: true },
      y: { ...yAxis(experiment.metric), ...part },
      tip: (curve, p) => p.published
        ? [["Fraction of real", percent(p.fraction)], ["Top-1", `${p.top1.toFixed(2)} %`]]
        : [["Level", p.level], ["Density", percent(p.density)], ["Fraction of real", percent(p.fraction)], [experiment.metric.name, plusMinus(experiment.metric, p.top1, p.std)],
          ["Trials", trials(p.n, curve.most)], ["MACs", count(p.macs)], ["Stored", bytes(p.bytes)], ["Weights", p.weights.toLocaleString("en")]],
    });
  };
  figure.addEventListener("change", update);
  update();
}

function trainingChart(figure, experiment) {
  const tickets = experiment.curves.filter((curve) => curve.ticket);
  const chart = new Chart(figure.querySelector(".plot"), `training curves, ${experiment.title}`);
  const line = (curve, level) => {
    const one = curve.training.find((training) => training.level === level);
    const most = one ? Math.max(...one.n) : 0;
    return one ? one.epochs.map((epoch, i) => ({ x: epoch, y: one.top1[i], std: one.std[i], n: one.n[i], most, hollow: one.n[i] < most })) : [];
  };
  return (level) => {
    const dense = level === 0 ? [] : tickets.map((curve) => ({ ...curve, label: `${curve.label}, level 0`, faint: true, mute: true, marker: "none", points: line(curve, 0) }));
    const series = tickets.map((curve) => ({ ...curve, sparse: true, points: line(curve, level) }));
    chart.show({
      series: [...dense, ...series].filter((one) => one.points.length), bands: true, empty: "No network was trained at this level.",
      x: { label: "Epoch", format: (v) => trim(v.toFixed(1)) }, y: yAxis(experiment.metric),
      tip: (curve, p) => [["Level", level], ["Epoch", p.x], [experiment.metric.name, plusMinus(experiment.metric, p.y, p.std)], ["Trials", trials(p.n, p.most)]],
    });
    legend(figure, series.filter((one) => one.points.length));
  };
}

function layersChart(figure, experiment) {
  const tickets = experiment.curves.filter((curve) => curve.ticket);
  const chart = new Chart(figure.querySelector(".plot"), `density of each layer, ${experiment.title}`);
  const names = [...new Set(tickets.flatMap((curve) => Object.keys(curve.layers)))];
  const kept = tickets.flatMap((curve) => Object.values(curve.layers).flat()).filter((value) => value > 0);
  const many = names.length > 30; // then names would not fit: the axis counts, and the tip names
  const floor = Math.min(...kept, 0.5) / 1.3;
  return (level) => {
    const series = tickets.map((curve) => {
      const index = curve.points.findIndex((point) => point.level === level);
      const points = names.map((name, x) => ({ x, name, density: index < 0 ? null : (curve.layers[name] || [])[index] ?? null }));
      return { ...curve, radius: many ? 2 : 4, points: points.filter((p) => p.density !== null).map((p) => ({ ...p, y: Math.max(p.density, floor), hollow: p.density === 0 })) };
    }).filter((one) => one.points.length);
    chart.show({
      series, empty: "No network reached this level.",
      x: { label: many ? "Layer, counted from the input" : "Layer", names: many ? names.map((_, i) => String(i + 1)) : names, low: -0.4, high: names.length - 0.6 }, y: { label: "Density", log: true, low: floor, high: 1.15, format: tick(percent) },
      tip: (curve, p) => [["Layer", p.name], ["Level", level], ["Density", p.density ? percent(p.density) : "0 %"]],
    });
    legend(figure, series);
  };
}

function legend(figure, series) {
  const items = series.map((one) => {
    const item = html("span");
    item.append(swatch(one), html("span", {}, one.label));
    return item;
  });
  figure.querySelector(".legend").replaceChildren(...items);
}

function levelSlider(section, experiment, updates) {
  const tickets = experiment.curves.filter((curve) => curve.ticket), panel = section.querySelector(".level");
  const input = panel.querySelector("input"), output = panel.querySelector("output");
  const trained = tickets.flatMap((curve) => curve.training.map((training) => training.level)); // a page holds a dozen of them
  const reached = tickets.flatMap((curve) => curve.points.map((point) => point.level));
  const levels = [...new Set(trained.length ? trained : reached)].sort((a, b) => a - b);
  input.max = levels.length - 1;
  input.disabled = levels.length === 1;
  input.value = Math.floor(levels.length / 2); // level 0 stays in sight as thin lines, and its densities are all 100 %
  const update = () => {
    const level = levels[Number(input.value)];
    const sizes = tickets.map((curve) => {
      const point = curve.points.find((one) => one.level === level);
      return point ? `${curve.label} ${plusMinus(experiment.metric, point.top1, point.std)} at ${percent(point.fraction)} of real` : `${curve.label} not run`;
    });
    const point = tickets.flatMap((curve) => curve.points).find((one) => one.level === level);
    output.textContent = `${level} (density ${percent(point.density)}): ${sizes.join("; ")}`;
    input.setAttribute("aria-valuetext", `level ${level}`);
    updates.forEach((one) => one(level));
  };
  input.addEventListener("input", update);
  update();
}

const explore = document.getElementById("explore");
if (explore) {
  const experiment = DATA[0];
  explore.hidden = false;
  const figure = (name) => explore.querySelector(`[data-chart=${name}]`);
  accuracyChart(figure("accuracy"), experiment, explore.id);
  if (experiment.curves.some((curve) => curve.ticket))
    levelSlider(explore, experiment, [trainingChart(figure("training"), experiment), layersChart(figure("layers"), experiment)]);
  else for (const part of explore.querySelectorAll(".level, .pair")) part.hidden = true;
}
