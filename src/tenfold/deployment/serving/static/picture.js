// From a drawing to a picture like those that the model was trained on.
//
// A drawing is a list of strokes, each a list of points [x, y], as shares of the pad's width.
//
// MNIST's digits were scaled to fit a box of 20x20 pixels and placed by their center of mass in the
// middle of 28x28 (Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits").
// Here the box is as large as the subjects of the training images are. If no room is left around
// it, as in data sets whose subjects fill the image, nothing is moved out of the picture.

const STROKE = 0.14; // width of the lines, as a share of the box: as in MNIST and the digits of UCI
export const ON_PAD = 0.065; // the same on the pad, as a share of its width
const MOST_ENLARGED = 6; // a dot stays a dot

const MOST_PIXELS = 256; // of the longer side, unless the model's is larger
const [LEAST_FACTOR, MOST_FACTOR] = [2, 16];

export const COLORS = {
  dark: { paper: "#000", ink: "#fff" },
  light: { paper: "#fff", ink: "#000" },
};

// The picture of a drawing, as a PNG; several times as large as the model's images, whose size the
// server brings it to in the way of the training images. `shape` is [height, width].
export function pictureOf(strokes, [height, width], background) {
  const factor = Math.floor(MOST_PIXELS / Math.max(height, width));
  const enlarged = Math.min(Math.max(factor, LEAST_FACTOR), MOST_FACTOR);
  const canvas = document.createElement("canvas");
  canvas.width = width * enlarged;
  canvas.height = height * enlarged;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const colors = COLORS[background?.shade ?? "light"];
  if (background) {
    drawLikeTraining(context, strokes, background.extent, colors.ink);
  } else {
    const whole = { scale: canvas.width, left: 0, top: 0 };
    drawStrokes(context, strokes, whole, ON_PAD * canvas.width, colors.ink);
  }
  context.globalCompositeOperation = "destination-over";
  context.fillStyle = colors.paper;
  context.fillRect(0, 0, canvas.width, canvas.height);
  return pngOf(canvas);
}

// At once; `toBlob` waits until the browser is idle.
function pngOf(canvas) {
  const [, encoded] = canvas.toDataURL("image/png").split(",");
  const bytes = Uint8Array.from(atob(encoded), (char) => char.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}

function drawLikeTraining(context, strokes, extent, ink) {
  const { width, height } = context.canvas;
  const box = boxAround(strokes);
  const line = STROKE * extent * Math.min(width, height);
  const room = [extent * width - line, extent * height - line];
  const scale = Math.min(
    MOST_ENLARGED * Math.max(width, height),
    ...[0, 1].map((axis) => room[axis] / Math.max(box.sides[axis], 1e-6)),
  );
  const inMiddle = {
    scale,
    left: width / 2 - scale * (box.least[0] + box.sides[0] / 2),
    top: height / 2 - scale * (box.least[1] + box.sides[1] / 2),
  };
  drawStrokes(context, strokes, inMiddle, line, ink);
  const [x, y] = centerOfMass(context);
  const slack = [0, 1].map((axis) => {
    const free = (axis ? height : width) - scale * box.sides[axis] - line;
    return Math.max(0, free / 2);
  });
  const moved = {
    scale,
    left: inMiddle.left + within(width / 2 - x, slack[0]),
    top: inMiddle.top + within(height / 2 - y, slack[1]),
  };
  context.clearRect(0, 0, width, height);
  drawStrokes(context, strokes, moved, line, ink);
}

const within = (value, most) => Math.min(Math.max(value, -most), most);

function boxAround(strokes) {
  const points = strokes.flat();
  const least = [0, 1].map((axis) => points.reduce((m, p) => Math.min(m, p[axis]), Infinity));
  const most = [0, 1].map((axis) => points.reduce((m, p) => Math.max(m, p[axis]), -Infinity));
  return { least, sides: [most[0] - least[0], most[1] - least[1]] };
}

// Of the opacity of a canvas, in pixels.
function centerOfMass(context) {
  const { width, height } = context.canvas;
  const { data } = context.getImageData(0, 0, width, height);
  let [mass, x, y] = [0, 0, 0];
  for (let place = 0; place < width * height; place++) {
    const opacity = data[4 * place + 3];
    mass += opacity;
    x += opacity * ((place % width) + 0.5);
    y += opacity * (Math.floor(place / width) + 0.5);
  }
  return mass ? [x / mass, y / mass] : [width / 2, height / 2];
}

// Draw strokes as smooth lines: curves from the middle of one piece to that of the next.
export function drawStrokes(context, strokes, { scale, left, top }, line, ink) {
  context.strokeStyle = ink;
  context.lineWidth = line;
  context.lineCap = "round";
  context.lineJoin = "round";
  for (const stroke of strokes) {
    const points = stroke.map(([x, y]) => [left + scale * x, top + scale * y]);
    context.beginPath();
    context.moveTo(...points[0]);
    for (let i = 1; i < points.length - 1; i++) {
      const middle = [0, 1].map((axis) => (points[i][axis] + points[i + 1][axis]) / 2);
      context.quadraticCurveTo(...points[i], ...middle);
    }
    context.lineTo(...points.at(-1)); // of a single point, this makes a dot
    context.stroke();
  }
}
