// The mathematics of the page "Figures that move". Vectors are arrays, matrices arrays of rows.
const numbers = {
  dot: (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0),
  length: (a) => Math.hypot(...a),
  times: (matrix, x) => matrix.map((row) => numbers.dot(row, x)),
  turned: ([x, y], angle) => [x * Math.cos(angle) - y * Math.sin(angle), y * Math.cos(angle) + x * Math.sin(angle)],

  // In degrees, from 0 to 180; not a number where one of the two is zero.
  angle(a, b) {
    const cosine = numbers.dot(a, b) / (numbers.length(a) * numbers.length(b));
    return (180 / Math.PI) * Math.acos(Math.max(-1, Math.min(1, cosine)));
  },

  // The singular values of a 2 x 2 matrix: it is a turn and stretch plus a mirror and stretch.
  singularValues([[a, b], [c, d]]) {
    const [turn, mirror] = [Math.hypot(a + d, c - b) / 2, Math.hypot(a - d, c + b) / 2];
    return [turn + mirror, Math.abs(turn - mirror)];
  },

  // The shadow of b on the line through a: t, the foot t a, the rest, and the matrix P = a a^T / a.a.
  shadow(a, b) {
    const square = numbers.dot(a, a);
    const t = numbers.dot(a, b) / square;
    const foot = a.map((value) => t * value);
    return { t, foot, rest: b.map((value, i) => value - foot[i]), P: a.map((x) => a.map((y) => (x * y) / square)) };
  },

  brick: (u, v) => u.map((x) => v.map((y) => x * y)),
  sum: (first, second) => first.map((row, i) => row.map((value, j) => value + second[i][j])),

  // The rank of a small matrix, by peeling bricks off as notebook 01 does; exact for whole numbers and halves.
  rank(matrix) {
    let bricks = 0;
    for (let rest = matrix; rest.flat().some(Boolean); bricks++) {
      const pivot = rest.flat().reduce((most, value) => Math.abs(value) > Math.abs(most) ? value : most);
      const i = rest.findIndex((row) => row.includes(pivot)), j = rest[i].indexOf(pivot);
      rest = rest.map((row) => row.map((value, n) => pivot * value - row[j] * rest[i][n]));
    }
    return bricks;
  },

  breakEven: (m, n) => (m * n) / (m + n),
  speed: (pair) => 100000 ** (-2 * pair / 64),  // radians a token, of one pair of the model's 64 features in a head
};
