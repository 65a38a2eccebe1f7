// The report's own mesh viewer: WebGL 2 or 1, no library, nothing fetched. World frame: right-handed, z up.
"use strict";

const VERTEX = `
attribute vec3 position; attribute vec2 uv; attribute vec2 octahedral;
uniform mat4 clip; uniform mat3 eye; uniform vec3 low, extent; uniform float lift;
varying vec2 at; varying vec3 normal;
void main() {
  vec3 n = vec3(octahedral, 1.0 - abs(octahedral.x) - abs(octahedral.y));
  float t = max(-n.z, 0.0);
  n.x += n.x >= 0.0 ? -t : t;
  n.y += n.y >= 0.0 ? -t : t;
  normal = eye * normalize(n);
  at = uv;
  gl_Position = clip * vec4(low + position * extent, 1.0);
  gl_Position.z -= lift * gl_Position.w;
}`;

const FRAGMENT = `
precision highp float;
uniform sampler2D colour, unseen;
uniform float textured, shaded, marked, line; uniform vec3 ink;
varying vec2 at; varying vec3 normal;
void main() {
  if (line > 0.0) { gl_FragColor = vec4(ink * line, line); return; }
  vec3 base = mix(vec3(0.80, 0.82, 0.85), texture2D(colour, at).rgb, textured);
  vec3 n = normalize(normal);
  float key = 0.5 + 0.5 * dot(n, normalize(vec3(-0.45, 0.65, 0.75)));
  float light = 0.50 + 0.54 * key * key + 0.08 * max(n.z, 0.0);
  base *= mix(1.0, light, shaded);
  if (marked > 0.0) {
    float hatch = step(0.5, fract((gl_FragCoord.x + gl_FragCoord.y) / 10.0));
    base = mix(base, mix(vec3(0.86, 0.09, 0.55), vec3(1.0, 0.45, 0.80), hatch), 0.85 * step(0.5, texture2D(unseen, at).r));
  }
  gl_FragColor = vec4(base, 1.0);
}`;

function decodeMesh(meta, text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  let at = 0;
  const take = (size) => bytes.subarray(at, (at += size));
  const vertices = meta.vertices, corners = 3 * meta.faces;
  const position = take(6 * vertices), uv = take(4 * vertices), normal = take(2 * vertices), packed = take(3 * corners);
  const index = new Uint32Array(corners);
  for (let i = 0, k = 0; i < corners; i++, k += 3) index[i] = packed[k] | (packed[k + 1] << 8) | (packed[k + 2] << 16);
  return { position, uv, normal, index };
}

function edgesOf(index, vertices) {
  // Every edge once; one along a seam twice, since its two sides have vertices of their own.
  const seen = new Set();
  for (let f = 0; f < index.length; f += 3) {
    for (let k = 0; k < 3; k++) {
      const a = index[f + k], b = index[f + (k + 1) % 3];
      seen.add(a < b ? a * vertices + b : b * vertices + a);
    }
  }
  const edges = new Uint32Array(2 * seen.size);
  let size = 0;
  for (const key of seen) {
    edges[size++] = Math.floor(key / vertices);
    edges[size++] = key % vertices;
  }
  return edges;
}

function multiply(a, b) {
  const out = new Float32Array(16);
  for (let c = 0; c < 4; c++) for (let r = 0; r < 4; r++) {
    let sum = 0;
    for (let k = 0; k < 4; k++) sum += a[4 * k + r] * b[4 * c + k];
    out[4 * c + r] = sum;
  }
  return out;
}

class Viewer {
  constructor(canvas, meta, mesh, images) {
    this.canvas = canvas;
    this.meta = meta;
    this.mesh = mesh;
    this.show = { textured: true, shaded: false, wireframe: false, unseen: false };
    const options = { antialias: true, alpha: true, premultipliedAlpha: true, preserveDrawingBuffer: true };
    const gl = canvas.getContext("webgl2", options) || canvas.getContext("webgl", options);
    if (!gl) throw new Error("WebGL is not available");
    this.gl = gl;
    this.modern = typeof WebGL2RenderingContext !== "undefined" && gl instanceof WebGL2RenderingContext;
    if (!this.modern && !gl.getExtension("OES_element_index_uint")) throw new Error("32-bit indices are not available");
    this.program = this.link();
    this.upload(images);
    this.reset();
  }

  link() {
    const gl = this.gl, program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader) || "shader");
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) || "program");
    gl.useProgram(program);
    this.at = {};
    for (const name of ["clip", "eye", "low", "extent", "lift", "colour", "unseen", "textured", "shaded", "marked", "line", "ink"])
      this.at[name] = gl.getUniformLocation(program, name);
    return program;
  }

  upload(images) {
    const gl = this.gl, mesh = this.mesh;
    const attribute = (name, data, size, type) => {
      const place = gl.getAttribLocation(this.program, name);
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, size, type, true, 0, 0);
    };
    attribute("position", mesh.position, 3, gl.UNSIGNED_SHORT);
    attribute("uv", mesh.uv, 2, gl.UNSIGNED_SHORT);
    attribute("octahedral", mesh.normal, 2, gl.BYTE);
    this.faces = gl.createBuffer();
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.faces);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, mesh.index, gl.STATIC_DRAW);
    images.forEach((image, unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, image);
      const square = (n) => (n & (n - 1)) === 0;
      const mips = unit === 0 && (this.modern || (square(image.width) && square(image.height)));
      if (mips) gl.generateMipmap(gl.TEXTURE_2D);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, mips ? gl.LINEAR_MIPMAP_LINEAR : gl.LINEAR);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    });
    const sharp = gl.getExtension("EXT_texture_filter_anisotropic");
    if (sharp) {
      gl.activeTexture(gl.TEXTURE0);
      gl.texParameterf(gl.TEXTURE_2D, sharp.TEXTURE_MAX_ANISOTROPY_EXT, 8);
    }
  }

  reset() {
    const { low, high } = this.meta;
    this.target = low.map((v, k) => (v + high[k]) / 2);
    this.radius = this.meta.radius;
    this.zoom = 1;
    this.look(35, 22);
  }

  look(yaw, pitch) {
    this.yaw = yaw * Math.PI / 180;
    this.pitch = pitch * Math.PI / 180;
    this.draw();
  }

  orbit(dx, dy) {
    this.yaw -= dx;
    this.pitch = Math.min(Math.max(this.pitch + dy, -Math.PI / 2), Math.PI / 2);
    this.draw();
  }

  scale(factor) {
    this.zoom = Math.min(Math.max(this.zoom * factor, 0.2), 30);
    this.draw();
  }

  axes() {
    const [cy, sy, cp, sp] = [Math.cos(this.yaw), Math.sin(this.yaw), Math.cos(this.pitch), Math.sin(this.pitch)];
    return { right: [-sy, cy, 0], up: [-sp * cy, -sp * sy, cp], back: [cp * cy, cp * sy, sp] };
  }

  pan(dx, dy) {
    const { right, up } = this.axes(), unit = 2 * this.radius / this.zoom;
    this.target = this.target.map((v, k) => v - unit * (dx * right[k] - dy * up[k]));
    this.draw();
  }

  draw() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => { this.pending = 0; this.render(); });
  }

  resize() {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
  }

  render() {
    const gl = this.gl, meta = this.meta, { right, up, back } = this.axes();
    this.resize();
    const aspect = this.canvas.width / this.canvas.height, tangent = Math.tan(15 * Math.PI / 180);
    const distance = 1.06 * this.radius / Math.sin(Math.atan(tangent * Math.min(1, aspect))) / this.zoom;
    const eye = this.target.map((v, k) => v + distance * back[k]);
    const near = Math.max(distance - 2.2 * this.radius, distance * 0.02), far = distance + 2.2 * this.radius;
    const dot = (a) => -(a[0] * eye[0] + a[1] * eye[1] + a[2] * eye[2]);
    const view = new Float32Array([
      right[0], up[0], back[0], 0, right[1], up[1], back[1], 0, right[2], up[2], back[2], 0, dot(right), dot(up), dot(back), 1]);
    const projection = new Float32Array([
      1 / (tangent * aspect), 0, 0, 0, 0, 1 / tangent, 0, 0,
      0, 0, (far + near) / (near - far), -1, 0, 0, 2 * far * near / (near - far), 0]);
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.CULL_FACE);
    gl.disable(gl.BLEND);
    gl.uniformMatrix4fv(this.at.clip, false, multiply(projection, view));
    gl.uniformMatrix3fv(this.at.eye, false, new Float32Array([
      right[0], up[0], back[0], right[1], up[1], back[1], right[2], up[2], back[2]]));
    gl.uniform3fv(this.at.low, meta.low);
    gl.uniform3fv(this.at.extent, meta.low.map((v, k) => meta.high[k] - v));
    gl.uniform1i(this.at.colour, 0);
    gl.uniform1i(this.at.unseen, 1);
    gl.uniform1f(this.at.textured, this.show.textured ? 1 : 0);
    gl.uniform1f(this.at.shaded, this.show.shaded || !this.show.textured ? 1 : 0);
    gl.uniform1f(this.at.marked, this.show.unseen ? 1 : 0);
    gl.uniform1f(this.at.line, 0);
    gl.uniform1f(this.at.lift, 0);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.faces);
    gl.drawElements(gl.TRIANGLES, this.mesh.index.length, gl.UNSIGNED_INT, 0);
    if (this.show.wireframe) this.renderLines();
  }

  renderLines() {
    const gl = this.gl;
    if (!this.edges) {
      const edges = edgesOf(this.mesh.index, this.meta.vertices);
      this.edges = { buffer: gl.createBuffer(), size: edges.length };
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.edges.buffer);
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, edges, gl.STATIC_DRAW);
    }
    // Dense meshes get fainter lines: about how many pixels a face's edge takes decides.
    const pixels = Math.sqrt(this.canvas.height * this.canvas.height * 0.9 / this.meta.faces) * this.zoom;
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.depthFunc(gl.LEQUAL);
    gl.uniform1f(this.at.lift, 0.0002);
    gl.uniform1f(this.at.line, Math.min(Math.max(pixels / 14, 0.16), 0.8));
    gl.uniform3f(this.at.ink, 0.04, 0.10, 0.24);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.edges.buffer);
    gl.drawElements(gl.LINES, this.edges.size, gl.UNSIGNED_INT, 0);
    gl.depthFunc(gl.LESS);
  }

  coveredPixels() {
    const gl = this.gl, pixels = new Uint8Array(4 * this.canvas.width * this.canvas.height);
    gl.readPixels(0, 0, this.canvas.width, this.canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    let covered = 0;
    for (let i = 3; i < pixels.length; i += 4) covered += pixels[i] > 0;
    return covered;
  }
}
