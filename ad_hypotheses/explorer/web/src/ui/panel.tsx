import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import { save } from "../save.ts";
import { state } from "../store.ts";

export const note = signal(""); // what was copied or saved, said for a moment
let clearing: ReturnType<typeof setTimeout> | undefined;

export function say(words: string): void {
  note.value = words;
  clearTimeout(clearing);
  clearing = setTimeout(() => (note.value = ""), 2500);
}

export async function copy(text: string, words: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    say(words);
  } catch {
    say("the browser did not allow copying");
  }
}

interface Props {
  name: string;
  help: string;
  code?: string;
  data?: () => string;
  children: ComponentChildren;
  tools?: ComponentChildren;
}

const whole = signal<string | null>(null);

/** A part of the page: what it shows, and beside its name how to have that as Python, as data and as a picture. */
export function Panel({ name, help, code, data, children, tools }: Props) {
  const section = useRef<HTMLElement>(null);
  const picture = (kind: "picture" | "vector") => {
    const canvases = [...section.current!.querySelectorAll("canvas")];
    const { model, step } = state.value!;
    save[kind](canvases, `${name}: ${model.name}, step ${step}`, `${name}-${model.name}`);
  };
  const id = name.toLowerCase();
  const large = whole.value === id;
  return (
    <section ref={section} class={`panel ${large ? "whole" : ""}`} id={id} aria-label={name}>
      <header>
        <h2 title={help}>{name}</h2>
        {tools}
        <span class="tools">
          {code && (
            <button class="quiet" title={`Copy the call that says the same: ${code}`} onClick={() => copy(code, "copied")}>
              Python
            </button>
          )}
          {data && (
            <button class="quiet" title="Save the numbers as CSV" onClick={() => save.text(data(), `${id}.csv`, "text/csv")}>
              Data
            </button>
          )}
          <button class="quiet picture" title="Save the picture as PNG" onClick={() => picture("picture")}>
            Picture
          </button>
          <button class="quiet picture" title="Save the picture as SVG, which stays sharp at any size" onClick={() => picture("vector")}>
            SVG
          </button>
          <button
            class="quiet"
            title={large ? "Back to the page" : "Fill the window"}
            aria-label={large ? "back to the page" : "fill the window"}
            aria-pressed={large}
            onClick={() => (whole.value = large ? null : id)}
          >
            {large ? "✕" : "⤢"}
          </button>
        </span>
      </header>
      {children}
    </section>
  );
}
