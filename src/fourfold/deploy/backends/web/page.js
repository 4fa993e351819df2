"use strict";
// The page around a network: an image becomes the bytes that the network takes, and its logits become probabilities.

const about = JSON.parse(document.getElementById("about").textContent);
const { width, height, channels } = about;
const element = (id) => document.getElementById(id);
const canvas = element("canvas"), pen = canvas.getContext("2d", { willReadFrequently: true });
const side = canvas.width;
const PEN_WIDTH = side / 14; // of a digit of MNIST, 28 pixels wide: two pixels
const DRAWN_SHARE = about.width < 16 ? 1 : 20 / 28; // of the side that a centred drawing fills, as in MNIST
const LISTED = 10; // classes
const SHORTEST = 20; // milliseconds over which a run is timed: the clock of browsers is coarse

let exported = null; // the module's functions, once it is loaded
let drawn = false; // by hand, not a picture

async function load() {
  const packed = Uint8Array.from(atob(element("module").textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const { instance } = await WebAssembly.instantiate(await new Response(stream).arrayBuffer());
  exported = instance.exports;
}

// Bytes of an image, row by row, each pixel's channels together → logits.
function run(bytes) {
  new Uint8Array(exported.memory.buffer, exported.image(), bytes.length).set(bytes);
  exported.run();
  return new Float32Array(exported.memory.buffer, exported.logits(), about.outputs).slice();
}

function milliseconds() {
  let runs = 0;
  const start = performance.now();
  let now = start;
  do {
    exported.run();
    runs += 1;
    now = performance.now();
  } while (now - start < SHORTEST);
  return (now - start) / runs;
}

function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

// Red, green and blue of a rectangle of the canvas as width × height pixels, each the mean of what lies under it.
function scaled(left, top, wide, high) {
  const pixels = pen.getImageData(0, 0, side, side).data;
  const means = new Float64Array(width * height * 3);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const x0 = left + (column * wide) / width, x1 = left + ((column + 1) * wide) / width;
      const y0 = top + (row * high) / height, y1 = top + ((row + 1) * high) / height;
      let weight = 0;
      const sum = [0, 0, 0];
      for (let y = Math.floor(y0); y < y1; y++) {
        for (let x = Math.floor(x0); x < x1; x++) {
          const part = (Math.min(x + 1, x1) - Math.max(x, x0)) * (Math.min(y + 1, y1) - Math.max(y, y0));
          weight += part;
          if (x < 0 || y < 0 || x >= side || y >= side) continue; // black around the canvas
          for (let c = 0; c < 3; c++) sum[c] += part * pixels[4 * (y * side + x) + c];
        }
      }
      for (let c = 0; c < 3; c++) means[3 * (row * width + column) + c] = sum[c] / weight;
    }
  }
  return means;
}

// The square that a drawing fills when it is centred: its longer side takes DRAWN_SHARE of it, and its centre of mass is the middle.
function centred() {
  const pixels = pen.getImageData(0, 0, side, side).data;
  let left = side, right = -1, top = side, bottom = -1, mass = 0, massX = 0, massY = 0;
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const ink = pixels[4 * (y * side + x)];
      if (ink < 32) continue;
      left = Math.min(left, x); right = Math.max(right, x); top = Math.min(top, y); bottom = Math.max(bottom, y);
      mass += ink; massX += ink * (x + 0.5); massY += ink * (y + 0.5);
    }
  }
  if (mass === 0) return [0, 0, side, side];
  const square = Math.max(right - left + 1, bottom - top + 1) / DRAWN_SHARE;
  const [x, y] = DRAWN_SHARE < 1 ? [massX / mass, massY / mass] : [(left + right + 1) / 2, (top + bottom + 1) / 2];
  return [x - square / 2, y - square / 2, square, square];
}

function seen() {
  const rectangle = drawn && element("centre")?.checked ? centred() : [0, 0, side, side];
  const colours = scaled(...rectangle), bytes = new Uint8Array(width * height * channels);
  const inverted = element("invert").checked;
  for (let pixel = 0; pixel < width * height; pixel++) {
    const [red, green, blue] = colours.subarray(3 * pixel, 3 * pixel + 3);
    const values = channels === 1 ? [0.299 * red + 0.587 * green + 0.114 * blue] : [red, green, blue];
    values.forEach((value, c) => { bytes[channels * pixel + c] = Math.round(inverted ? 255 - value : value); });
  }
  return bytes;
}

function show(bytes) {
  const context = element("seen").getContext("2d"), picture = context.createImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    for (let c = 0; c < 3; c++) picture.data[4 * pixel + c] = bytes[channels * pixel + (channels === 1 ? 0 : c)];
    picture.data[4 * pixel + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

function classify(timed = false) {
  if (exported === null) return;
  const bytes = seen(), blank = bytes.every((byte) => byte === bytes[0]);
  show(bytes);
  const shares = blank ? new Array(about.outputs).fill(0) : softmax(run(bytes));
  const ranking = shares.map((share, index) => ({ share, index })).sort((a, b) => b.share - a.share);
  const listed = shares.length <= LISTED ? [...ranking].sort((a, b) => a.index - b.index) : ranking.slice(0, LISTED);
  element("classes").replaceChildren(...listed.map(({ share, index }) => {
    const item = document.createElement("li"), percent = `${(100 * share).toFixed(1)} %`;
    item.classList.toggle("first", !blank && index === ranking[0].index);
    for (const [name, text] of [["name", about.class_names[index] ?? String(index)], ["bar", ""], ["share", blank ? "–" : percent]]) {
      const part = item.appendChild(document.createElement("span"));
      part.className = name;
      part.textContent = text;
      if (name === "bar") part.appendChild(document.createElement("span")).style.width = percent.replace(" ", "");
    }
    return item;
  }));
  if (timed && !blank) {
    const time = milliseconds();
    element("time").textContent = time < 1 ? `${(1000 * time).toFixed(0)} µs` : `${time.toFixed(1)} ms`;
  }
}

function clear() {
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, side, side);
  element("invert").checked = false;
  element("message").textContent = "";
  drawn = true;
  classify();
}

async function take(file) {
  element("message").textContent = "";
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    element("message").textContent = `${file.name} is not an image that this browser can read.`;
    return;
  }
  clear();
  drawn = false;
  const square = Math.min(picture.width, picture.height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(picture, (picture.width - square) / 2, (picture.height - square) / 2, square, square, 0, 0, side, side);
  if (channels === 1) { // dark on white, as on paper
    const corners = scaled(0, 0, side, side), last = 3 * (width * height - 1);
    element("invert").checked = corners[0] > 127 && corners[last] > 127;
  }
  classify(true);
}

let previous = null; // where the pen was

function place(event) {
  const box = canvas.getBoundingClientRect();
  return [((event.clientX - box.left) * side) / box.width, ((event.clientY - box.top) * side) / box.height];
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  if (!drawn) clear();
  previous = place(event);
  stroke(event);
});
canvas.addEventListener("pointermove", (event) => {
  if (previous !== null) for (const each of event.getCoalescedEvents?.() ?? [event]) stroke(each);
});
for (const end of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(end, () => {
    if (previous !== null) classify(true);
    previous = null;
  });
}

let waiting = false; // for the next frame, in which the drawing so far is classified

function stroke(event) {
  const here = place(event);
  Object.assign(pen, { strokeStyle: "#fff", lineWidth: PEN_WIDTH, lineCap: "round", lineJoin: "round" });
  pen.beginPath();
  pen.moveTo(...previous);
  pen.lineTo(...here);
  pen.stroke();
  previous = here;
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; classify(); });
}

element("clear").addEventListener("click", clear);
element("file").addEventListener("change", (event) => { if (event.target.files[0]) take(event.target.files[0]); event.target.value = ""; });
for (const id of ["centre", "invert"]) element(id)?.addEventListener("change", () => classify());
document.addEventListener("dragover", (event) => { event.preventDefault(); canvas.classList.add("target"); });
document.addEventListener("dragleave", () => canvas.classList.remove("target"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  canvas.classList.remove("target");
  if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => { if (event.clipboardData.files[0]) take(event.clipboardData.files[0]); });

const ready = load().then(clear, (error) => {
  element("message").textContent = `This browser cannot run the network (${error.message}); it needs WebAssembly with SIMD.`;
});
window.fourfold = { ready, run, seen };
