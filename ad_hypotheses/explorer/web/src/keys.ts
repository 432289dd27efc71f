// What keys do, wherever nothing is being typed.
import { act, choose, context, model, pinPartner, redo, selected, then, undo } from "./store.ts";
import { showingKeys } from "./ui/header.tsx";
import { showRows } from "./ui/rows.tsx";
import { showingTable } from "./ui/table.tsx";
import { isCopy } from "./wire.ts";
import { episodeOf } from "./words.ts";

const ARROWS: Record<string, string[]> = {
  ArrowUp: ["up", "forward"],
  ArrowDown: ["down"],
  ArrowLeft: ["left"],
  ArrowRight: ["right"],
};

export function listen(): void {
  document.addEventListener("keydown", (event) => {
    const target = event.target as HTMLElement;
    if (event.ctrlKey || event.metaKey || target.closest("input, select, textarea, [role=dialog]")) return;
    if (!context.value || !model.value) return;
    if (pressed(event)) event.preventDefault();
  });
}

function pressed(event: KeyboardEvent): boolean {
  if (event.altKey) return moved(event.key);
  if (isCopy && !"gt?".includes(event.key)) return false;
  const { actions } = model.value!;
  const arrow = ARROWS[event.key]?.find((name) => actions.includes(name));
  if (arrow) return did(arrow);
  if (/^[0-9]$/.test(event.key) && Number(event.key) < actions.length) return did(actions[Number(event.key)]);
  if (event.key === "s" && actions.includes("stay")) return did("stay");
  const plain: Record<string, () => void> = {
    u: undo,
    U: redo,
    w: () => (then.value = "world"),
    m: () => (then.value = "model"),
    o: () => (then.value = "nothing"),
    g: () => (document.getElementById("goto") as HTMLInputElement | null)?.select(),
    r: () => void showRows(),
    p: () => void pinPartner(),
    t: () => (showingTable.value = !showingTable.value),
    "?": () => (showingKeys.value = true),
  };
  plain[event.key]?.();
  return event.key in plain;
}

function did(action: string): boolean {
  void act(action, then.value !== "model");
  return true;
}

function moved(key: string): boolean {
  const { starts } = context.value!;
  const episode = episodeOf(context.value!, selected.value);
  const within = selected.value - starts[episode];
  const to = (other: number) => (starts[other] === undefined || other < 0 || other >= starts.length - 1 ? selected.value : starts[other] + within);
  const target: Record<string, number> = {
    ArrowLeft: selected.value - 1,
    ArrowRight: selected.value + 1,
    ArrowUp: to(episode - 1),
    ArrowDown: to(episode + 1),
  };
  if (!(key in target)) return false;
  void choose({ step: target[key] });
  return true;
}
