import { useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { type Paint, type Pen, paintOf } from "../draw/paint.ts";
import type { Drawing } from "../draw/svg.ts";

export interface Place {
  x: number;
  y: number;
}

interface Props {
  label: string;
  height: (width: number) => number;
  /** Draws everything; whatever signals it reads, it is called again when they change. */
  draw: (pen: Pen, paint: Paint, width: number, height: number) => void;
  onClick?: (place: Place, event: PointerEvent, width: number) => void;
  onMove?: (place: Place | null, width: number) => void;
  onDown?: (place: Place, width: number) => void;
  onUp?: (place: Place, width: number) => void;
  onReset?: () => void;
  cursor?: string;
}

/** What every canvas on the page draws, for files that hold it otherwise. */
export const drawings = new WeakMap<HTMLCanvasElement, () => Drawing>();

export const dark = matchMedia("(prefers-color-scheme: dark)");

/** A canvas that is as wide as its place, as sharp as the screen, and drawn again when what it shows changes. */
export function Canvas({ label, height, draw, onClick, onMove, onDown, onUp, onReset, cursor }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const width = useSignal(0);
  const theme = useSignal(0);
  const drawing = useRef(draw);
  drawing.current = draw;

  useEffect(() => {
    const repaint = () => theme.value++;
    dark.addEventListener("change", repaint);
    const observer = new ResizeObserver(([entry]) => (width.value = Math.floor(entry.contentRect.width)));
    observer.observe(canvas.current!.parentElement!);
    const element = canvas.current!;
    drawings.set(element, () => {
      const [wide, tall] = [width.value, Math.ceil(height(width.value))];
      return { width: wide, height: tall, draw: (pen) => drawing.current(pen, paintOf(element), wide, tall) };
    });
    return () => {
      observer.disconnect();
      dark.removeEventListener("change", repaint);
    };
  }, []);

  const paintNow = () => {
    const element = canvas.current;
    if (!element || width.value < 20) return;
    void theme.value;
    const tall = Math.max(10, Math.ceil(height(width.value)));
    const scale = devicePixelRatio || 1;
    if (element.width !== width.value * scale || element.height !== tall * scale) {
      element.width = width.value * scale;
      element.height = tall * scale;
      element.style.width = `${width.value}px`;
      element.style.height = `${tall}px`;
    }
    const pen = element.getContext("2d")!;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width.value, tall);
    drawing.current(pen, paintOf(element), width.value, tall);
  };
  useSignalEffect(paintNow);

  const at = (event: PointerEvent | MouseEvent): Place => ({ x: event.offsetX, y: event.offsetY });
  return (
    <canvas
      ref={canvas}
      role="img"
      aria-label={label}
      style={{ cursor: cursor ?? "default" }}
      onClick={(event) => onClick?.(at(event), event as unknown as PointerEvent, width.value)}
      onPointerMove={(event) => onMove?.(at(event), width.value)}
      onPointerLeave={() => onMove?.(null, width.value)}
      onPointerDown={(event) => onDown?.(at(event), width.value)}
      onPointerUp={(event) => onUp?.(at(event), width.value)}
      onDblClick={() => onReset?.()}
    />
  );
}
