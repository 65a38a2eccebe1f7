"""Colours of the procedural cases: functions of the place on the object, as Blender shader nodes.

They are evaluated per sample, so printed edges are as sharp as the camera allows, and they depend on the
point and the surface's normal only, never on the camera: the six views agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bpy
import numpy as np

Colour = str  # "#rrggbb", sRGB


def linear(colour: Colour) -> tuple[float, float, float, float]:
    """An sRGB hex colour as Blender's linear RGBA."""
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    rgb = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return (*map(float, rgb), 1.0)


class Paint:
    """Builds one material. A value is a node's output socket or a plain number; colours may be hex strings."""

    def __init__(self) -> None:
        self.material = bpy.data.materials.new("paint")
        self.material.use_nodes = True
        self._tree = self.material.node_tree
        self._tree.nodes.clear()
        self._split = self.node("ShaderNodeSeparateXYZ", [self.node("ShaderNodeTexCoord").outputs["Object"]])
        self._normal = self.node("ShaderNodeSeparateXYZ", [self.node("ShaderNodeNewGeometry").outputs["Normal"]])
        self.x, self.y, self.z = self._split.outputs
        self.nx, self.ny, self.nz = self._normal.outputs

    def node(self, kind: str, inputs: Sequence[Any] = (), **settings: Any) -> bpy.types.Node:
        """A node with its settings and first inputs filled in."""
        node = self._tree.nodes.new(kind)
        for name, value in settings.items():
            setattr(node, name, value)
        for k, value in enumerate(inputs):
            self.feed(node.inputs[k], value)
        return node

    def feed(self, socket: bpy.types.NodeSocket, value: Any) -> None:
        """Link a socket, or set a number, vector or colour."""
        if isinstance(value, bpy.types.NodeSocket):
            self._tree.links.new(value, socket)
        else:
            socket.default_value = linear(value) if isinstance(value, str) else value

    def math(self, operation: str, *values: Any) -> bpy.types.NodeSocket:
        """A Math node: ADD, MULTIPLY, GREATER_THAN, FRACT ..."""
        return self.node("ShaderNodeMath", values, operation=operation).outputs[0]

    def mix(self, factor: Any, a: Any, b: Any, blend: str = "MIX") -> bpy.types.NodeSocket:
        """Colour `a` where factor is 0, `b` where it is 1."""
        node = self.node("ShaderNodeMix", data_type="RGBA", blend_type=blend, clamp_factor=True)
        for name, value in (("Factor_Float", factor), ("A_Color", a), ("B_Color", b)):
            self.feed(next(s for s in node.inputs if s.identifier == name), value)
        return next(s for s in node.outputs if s.identifier == "Result_Color")

    def between(self, value: Any, low: float, high: float) -> bpy.types.NodeSocket:
        """1 where low < value < high."""
        return self.math(
            "LESS_THAN", self.math("ABSOLUTE", self.math("SUBTRACT", value, (low + high) / 2)), (high - low) / 2
        )

    def stripes(self, value: Any, period: float, share: float = 0.5) -> bpy.types.NodeSocket:
        """1 on a `share` of every period of the value."""
        return self.math("LESS_THAN", self.math("FRACT", self.math("DIVIDE", value, period)), share)

    def dots(self, u: Any, v: Any, period: float, radius: float) -> bpy.types.NodeSocket:
        """1 on discs of `radius` on a square lattice."""
        offsets = [self.math("SUBTRACT", self.math("FRACT", self.math("DIVIDE", w, period)), 0.5) for w in (u, v)]
        squares = [self.math("MULTIPLY", w, w) for w in offsets]
        return self.math("LESS_THAN", self.math("ADD", *squares), (radius / period) ** 2)

    def checks(self, u: Any, v: Any, period: float) -> bpy.types.NodeSocket:
        """1 on every other field of a chessboard."""
        a, b = self.stripes(u, 2 * period), self.stripes(v, 2 * period)
        return self.math("ABSOLUTE", self.math("SUBTRACT", a, b))

    def ramp(self, value: Any, low: float, high: float) -> bpy.types.NodeSocket:
        """0 below low, 1 above high, linear between."""
        return self.math("DIVIDE", self.math("SUBTRACT", value, low), high - low)

    def palette(self, value: Any, colours: Sequence[Colour], steps: bool = False) -> bpy.types.NodeSocket:
        """A colour ramp over [0, 1]; `steps` makes it a set of flat colours."""
        node = self.node("ShaderNodeValToRGB", [value])
        node.color_ramp.interpolation = "CONSTANT" if steps else "LINEAR"
        while len(node.color_ramp.elements) < len(colours):
            node.color_ramp.elements.new(0.5)
        for i, (element, colour) in enumerate(zip(node.color_ramp.elements, colours, strict=True)):
            element.position = i / (len(colours) if steps else len(colours) - 1)
            element.color = linear(colour)
        return node.outputs[0]

    def texture(self, kind: str, scale: float, **inputs: float) -> bpy.types.Node:
        """Noise, Voronoi or Wave over the object's coordinates."""
        node = self.node(f"ShaderNodeTex{kind}")
        self.feed(node.inputs["Vector"], self.node("ShaderNodeTexCoord").outputs["Object"])
        for name, value in {"Scale": scale, **inputs}.items():
            node.inputs[name].default_value = value
        return node

    def picture(self, pixels: np.ndarray, scale: float) -> bpy.types.NodeSocket:
        """An sRGB image (h, w, 3) in [0, 1] projected along the axis that the surface faces; `scale` images a unit."""
        height, width = pixels.shape[:2]
        image = bpy.data.images.new("print", width, height)
        rgba = np.concatenate([pixels[::-1], np.ones((height, width, 1))], 2)
        image.pixels.foreach_set(rgba.astype(np.float32).ravel())
        image.pack()
        place = self.node("ShaderNodeMapping", [self.node("ShaderNodeTexCoord").outputs["Object"]])
        place.inputs["Scale"].default_value = (scale, scale, scale)
        place.inputs["Location"].default_value = (0.5, 0.5, 0.5)
        node = self.node("ShaderNodeTexImage", image=image, projection="BOX", interpolation="Cubic")
        self.feed(node.inputs[0], place.outputs[0])
        return node.outputs[0]

    def finish(self, colour: Any, *, lit: bool, sky: float = 0.0) -> bpy.types.Material:
        """The material: emission of the colour, or a rough surface when `lit`.

        `sky` bakes a soft light from above and ahead into the colour: what faces away keeps 1 - sky of it.
        """
        if sky:
            facing = self.math("ADD", self.math("MULTIPLY", self.nz, 0.36), self.math("MULTIPLY", self.nx, 0.14))
            shade = self.math("ADD", self.math("MULTIPLY", facing, sky), 1 - sky / 2)
            grey = self.node("ShaderNodeCombineColor", [shade, shade, shade]).outputs[0]
            colour = self.mix(1.0, colour, grey, "MULTIPLY")
        if lit:
            surface = self.node("ShaderNodeBsdfPrincipled")
            surface.inputs["Roughness"].default_value = 0.6
        else:
            surface = self.node("ShaderNodeEmission")
        self.feed(surface.inputs[0], colour)
        self.node("ShaderNodeOutputMaterial", [surface.outputs[0]])
        return self.material
