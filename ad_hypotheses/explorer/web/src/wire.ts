// Whom the page asks: a server, the notebook that it is a frame of, or, in a file that holds all answers, nobody.
import type { Origin, State } from "./types.ts";

export interface Answer {
  status: number;
  body: unknown;
}

/** Asks for something; without content it gets, else it posts. Fails where nobody answers. */
export type Wire = (path: string, content?: unknown) => Promise<Answer>;

const http: Wire = async (path, content) => {
  const posted = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(content) };
  const response = await fetch(`api/${path}`, content === undefined ? {} : posted);
  const body = await response.json().catch(() => ({ error: `The server answered ${response.status}.` }));
  return { status: response.status, body };
};

/** By messages to the page around this one, which hands them to the kernel of a notebook. */
function frame(): Wire {
  const open = new Map<number, (answer: Answer) => void>();
  let count = 0;
  addEventListener("message", ({ source, data }) => {
    if (source !== parent || !open.has(data?.number)) return;
    open.get(data.number)!(data as Answer);
    open.delete(data.number);
  });
  return (path, content) =>
    new Promise((resolve) => {
      const number = ++count;
      open.set(number, resolve);
      parent.postMessage({ number, path, content: content ?? null }, "*");
    });
}

interface Copied {
  state: State;
  steps: [number, number];
  tokens: string[];
  answers: Record<string, unknown>;
}

const refused = (error: string): Answer => ({ status: 400, body: { error } });

/** What a file holds in place of a server: the answers about one state. */
function copy(packed: string): Wire {
  const content = unpack(packed);
  return async (path, asked) => {
    const { state, steps, tokens, answers } = await content;
    if (path === "start" || path === "model") return { status: 200, body: answers[path] };
    if (path === "progress" || path === "keep" || path === "cancel") return { status: 200, body: {} };
    const elsewhere = refused("This page is a copy of one state, which cannot be changed. Save it, and open the file with ad-hypotheses explore to go on from here.");
    const now = (asked as { state?: State } | undefined)?.state;
    if (!now || !sameContext(now, state)) return elsewhere;
    const name = path === "others" ? `others ${now.others[0]}` : `${path} ${now.step}`;
    const answer = answers[name] ?? answers[path];
    const field = ABOUT[path];
    if (field !== undefined && JSON.stringify(now[field]) !== JSON.stringify(state[field])) return elsewhere;
    if (answer === undefined || (path === "look" && (now.of !== state.of || now.received !== state.received))) {
      return PER_STEP.includes(path) ? refused(`This copy says where heads look, what parts add and who stood in at the steps ${steps[0]} to ${steps[1]} alone.`) : elsewhere;
    }
    const look = answer as { tokens?: string[] | number };
    if (typeof look.tokens === "number") return { status: 200, body: { ...look, tokens: tokens.slice(0, look.tokens) } };
    return { status: 200, body: answer };
  };
}

/** What else of the state a panel is about. */
const ABOUT: Record<string, "replaced" | "scan" | "live" | "claim"> = { replaced: "replaced", scan: "scan", live: "live", claim: "claim", rivals: "claim" };

const PER_STEP = ["look", "learners", "carriers", "claim", "scan"];

const sameContext = (first: State, second: State): boolean => {
  const fields = ({ model, origin, edits, partner }: State): unknown => [model.name, origin as Origin, edits, partner];
  return JSON.stringify(fields(first)) === JSON.stringify(fields(second));
};

async function unpack(packed: string): Promise<Copied> {
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return JSON.parse(await new Response(stream).text());
}

const held = typeof document === "undefined" ? null : document.getElementById("answers");

/** Whether this page is a file that holds all answers, so that nothing can be changed. */
export const isCopy = held !== null;
/** Whether this page is a frame in a notebook, which has no address of its own. */
export const isFrame = typeof document !== "undefined" && document.documentElement.dataset?.wire === "frame";

export const wire: Wire = held ? copy(held.textContent!) : isFrame ? frame() : http;
