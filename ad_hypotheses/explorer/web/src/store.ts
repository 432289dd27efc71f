// The state of the page, and what changes it. Every change of the context is a new state, so that undo is the state before.
import { batch, computed, signal } from "@preact/signals";
import { Refused, Replaced, ask, decodeContext, decodeLook, decodeScrub, get, packed, post, unpacked } from "./transport.ts";
import type {
  Carriers,
  ClaimFile,
  ClaimReference,
  Context,
  ContextAnswer,
  Edit,
  FromHistories,
  LearnersAnswer,
  Look,
  LookAnswer,
  ModelView,
  Scrub,
  ScrubAnswer,
  State,
  Then,
} from "./types.ts";

export const state = signal<State | null>(null);
export const models = signal<string[]>([]);
export const model = signal<ModelView | null>(null);
export const context = signal<Context | null>(null);
export const look = signal<Look | null>(null);
export const learners = signal<LearnersAnswer | null>(null);
export const claims = signal<ClaimFile[]>([]);
export const scrub = signal<Scrub | null>(null);
export const ran = signal<ReadonlySet<string>>(new Set()); // hypothesis files that the user let run on this page
export const carriers = signal<Carriers | null>(null);
export const withEdges = signal(false);
export const withSource = signal(false);
export const then = signal<Then>("world");
export const hovered = signal<number | null>(null);
export const zoom = signal<[number, number] | null>(null); // steps shown on the strip
export const placing = signal<string | null>(null); // the fact whose new place the next click says
export const problem = signal("");
export const waiting = signal(0);
export const seconds = signal(0); // for how long the page has been waiting
export const painted = signal(0); // milliseconds from the last change until it was drawn
const past = signal<State[]>([]);
const future = signal<State[]>([]);

export const canUndo = computed(() => past.value.length > 0);
export const canRedo = computed(() => future.value.length > 0);
export const selected = computed(() => state.value?.step ?? 0);

let changedAt = 0;

/** Note that everything is drawn of what was changed last. */
export function notePainted(): void {
  if (!changedAt) return;
  const since = changedAt;
  changedAt = 0;
  requestAnimationFrame(() => setTimeout(() => (painted.value = performance.now() - since)));
}

let clock: ReturnType<typeof setInterval> | undefined;

type Outcome = "done" | "replaced" | "refused";

async function guarded(work: () => Promise<void>): Promise<Outcome> {
  if (waiting.value++ === 0) {
    seconds.value = 0;
    clock = setInterval(() => seconds.value++, 1000);
  }
  try {
    await work();
    return "done";
  } catch (error) {
    if (error instanceof Replaced) return "replaced";
    problem.value = error instanceof Error ? error.message : String(error);
    if (!(error instanceof Refused)) console.error(error);
    return "refused";
  } finally {
    if (--waiting.value === 0) clearInterval(clock);
  }
}

let latest = 0;
let wanted: State | null = null; // the newest state that was asked for, which may not be shown yet

/** The state that a further change is made of: keys may come faster than contexts. */
const base = (): State => wanted ?? state.value!;

/** Show a state: ask for its context, and only then take it as the state of the page. */
async function show(next: State): Promise<Outcome> {
  const number = ++latest;
  wanted = next;
  changedAt = performance.now();
  problem.value = "";
  return guarded(async () => {
    const known = model.value?.name === next.model.name ? model.value : null;
    const view = known ?? (await post<ModelView>("model", { name: next.model.name }));
    if (number !== latest) throw new Replaced();
    const answer = await ask<ContextAnswer>("context", next);
    if (number !== latest) throw new Replaced();
    const shown = decodeContext(answer);
    wanted = null;
    batch(() => {
      if (!known) look.value = learners.value = carriers.value = null;
      model.value = view;
      context.value = shown;
      state.value = { ...next, model: { name: next.model.name, sha256: next.model.sha256 || view.sha256 } };
    });
    if (zoom.value && zoom.value[1] > shown.nSteps) zoom.value = null;
    await address();
    scrub.value = null;
    void inspect();
  });
}

let asked = 0;
let pause: ReturnType<typeof setTimeout> | undefined;

/** Ask what the model does at the selected step, and a moment later what others would do there. */
export async function inspect(): Promise<void> {
  const current = state.value;
  if (!current) return;
  const number = ++asked;
  clearTimeout(pause);
  await guarded(async () => {
    const answer = await ask<LookAnswer>("look", current);
    if (number === asked) look.value = decodeLook(answer);
  });
  if (number !== asked) return;
  learners.value = null;
  void carried(current, number);
  void scrubbed(current, number);
  pause = setTimeout(() => {
    void guarded(async () => {
      const answer = await ask<LearnersAnswer>("learners", current, { source: withSource.value });
      if (number === asked) learners.value = answer;
    });
  }, 250);
}

/** Whether the last edit makes a difference to what the model does at a step. */
export function differsAt(step: number): boolean {
  return (context.value?.before?.changed?.[step] ?? 0) > 1e-7;
}

/** Ask which parts carry the difference that the last edit makes here. */
async function carried(current: State, number: number): Promise<void> {
  carriers.value = null;
  if (!differsAt(current.step)) return;
  await guarded(async () => {
    const answer = await ask<Carriers>("carriers", current, { edges: withEdges.value });
    if (number === asked) carriers.value = answer;
  });
}

/** Scrub the context by the chosen hypothesis, if the user let its file run. */
async function scrubbed(current: State, number: number): Promise<void> {
  if (!current.claim || !ran.value.has(current.claim.file)) return;
  await guarded(async () => {
    const answer = await ask<ScrubAnswer>("claim", current);
    if (number === asked) scrub.value = decodeScrub(answer);
  });
}

/** Let a hypothesis file run, on this context and on those that come. */
export async function runClaim(claim: ClaimReference): Promise<void> {
  ran.value = new Set([...ran.value, claim.file]);
  scrub.value = null;
  await choose({ claim });
}

async function address(): Promise<void> {
  if (state.value) history.replaceState(null, "", `./#${await packed(state.value)}`);
}

/** Change the context; what it was before can be had again with undo. */
export async function change(parts: Partial<State>): Promise<void> {
  const previous = base();
  past.value = [...past.value, previous];
  const formerFuture = future.value;
  future.value = [];
  if ((await show({ ...previous, ...parts })) !== "refused") return;
  past.value = past.value.filter((kept) => kept !== previous);
  future.value = formerFuture;
  await back(previous);
}

/** After a change that was refused, show what it was made of, if that is not shown yet; the reason stays. */
async function back(previous: State): Promise<void> {
  wanted = null;
  const reason = problem.value;
  if (previous !== state.value && (await show(previous)) === "done") problem.value = reason;
}

/** Look at something else in the same context. */
export async function choose(parts: Partial<Pick<State, "step" | "of" | "head" | "claim" | "notes">>): Promise<void> {
  if (!state.value || !context.value) return;
  const step = Math.max(0, Math.min(parts.step ?? state.value.step, context.value.nSteps - 1));
  const inspected = step !== state.value.step || "of" in parts || "claim" in parts;
  changedAt = performance.now();
  state.value = { ...state.value, ...parts, step };
  if (wanted) wanted = { ...wanted, ...parts, step };
  if (zoom.value && (step < zoom.value[0] || step >= zoom.value[1])) zoom.value = null;
  void address();
  if (inspected) await inspect();
}

export function undo(): void {
  void travel(past, future);
}

export function redo(): void {
  void travel(future, past);
}

async function travel(from: typeof past, to: typeof past): Promise<void> {
  const target = from.value.at(-1);
  if (!target) return;
  const current = base();
  from.value = from.value.slice(0, -1);
  to.value = [...to.value, current];
  if ((await show(target)) !== "refused") return;
  to.value = to.value.filter((kept) => kept !== current);
  from.value = [...from.value, target];
  await back(current);
}

/** Add an edit. One before a step from which facts were changed is made before that change, whose world is not its own. */
export function edit(added: Edit, step?: number): Promise<void> {
  const current = base();
  let place = current.edits.length;
  if (added.kind === "edit") {
    for (; place > 0; place--) {
      const last = current.edits[place - 1];
      if (last.kind !== "change_facts" || last.step <= added.step) break;
    }
  }
  const edits = [...current.edits.slice(0, place), added, ...current.edits.slice(place)];
  const last = context.value!.nSteps - 1;
  return change({ edits, step: Math.min(step ?? current.step, last) });
}

export function act(action: string, advance: boolean): Promise<void> {
  const { step } = base();
  return edit({ kind: "edit", step, action, then: then.value }, advance ? step + 1 : step);
}

export function rearrange(episodes: number[], step: number): Promise<void> {
  return edit({ kind: "rearrange", episodes }, step);
}

export function toggleEdit(number: number): Promise<void> {
  const edits = base().edits.map((edit, place) => (place === number ? { ...edit, off: !edit.off } : edit));
  return change({ edits });
}

export function removeEdit(number: number): Promise<void> {
  return change({ edits: base().edits.filter((_, place) => place !== number) });
}

export function changeOrigin(parts: Partial<FromHistories>): Promise<void> {
  const { origin } = base();
  const plain: FromHistories =
    origin.kind === "histories" ? origin : { kind: "histories", row: 0, rows: 8, data: "source", tasks: "held-out", seed: 0 };
  return change({ origin: { ...plain, ...parts }, edits: [] });
}

export function changeModel(name: string): Promise<void> {
  zoom.value = null;
  const origin: FromHistories = { kind: "histories", row: 0, rows: 8, data: "source", tasks: "held-out", seed: 0 };
  return change({ model: { name }, origin, edits: [], step: 0, of: null, head: null, claim: null });
}

export async function openFile(text: string): Promise<void> {
  await guarded(async () => {
    const opened = await post<State>("open", { text, model: state.value!.model.name });
    await change(opened);
  });
}

/** Show where the claim of a report breaks; its histories are made first, which may take a while. */
export async function openReport(file: string, worst: number): Promise<void> {
  await guarded(async () => {
    const opened = await post<State>("report", { file, worst });
    await change(opened);
  });
}

export async function begin(): Promise<void> {
  let first: State | null = null;
  await guarded(async () => {
    const start = await get<{ models: string[]; claims: ClaimFile[]; state: State }>("start");
    models.value = start.models;
    claims.value = start.claims;
    first = start.state;
    if (location.hash.length > 1) {
      try {
        first = await unpacked(location.hash.slice(1));
      } catch {
        problem.value = "The link is damaged: what follows # in it is not a whole state. Shown is where the explorer was started.";
      }
    }
  });
  const damaged = problem.value;
  if (first) await show(first);
  if (damaged) problem.value = damaged;
}
