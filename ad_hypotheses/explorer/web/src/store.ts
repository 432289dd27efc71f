// The state of the page, and what changes it. Every change of the context is a new state, so that undo is the state before.
import { batch, computed, signal } from "@preact/signals";
import {
  Refused,
  Replaced,
  ask,
  decodeContext,
  decodeLive,
  decodeLook,
  decodeOthers,
  decodeReplaced,
  decodeRivals,
  decodeScrub,
  get,
  packed,
  page,
  post,
  unpacked,
} from "./transport.ts";
import type {
  Ablations,
  Carriers,
  ClaimFile,
  ClaimReference,
  Context,
  ContextAnswer,
  Edit,
  FromHistories,
  LearnersAnswer,
  Live,
  LiveAnswer,
  LiveReference,
  Look,
  LookAnswer,
  ModelView,
  Origin,
  Others,
  OthersAnswer,
  Partner,
  Replaced as ReplacedParts,
  ReplacedAnswer,
  Rivals,
  RivalsAnswer,
  Scan,
  Scrub,
  ScrubAnswer,
  State,
  Tasks,
  Then,
} from "./types.ts";
import { isCopy, isFrame } from "./wire.ts";

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
export const ablations = signal<Ablations | null>(null);
export const ablating = signal(false); // whether what every part does is asked for at every step
export const replaced = signal<ReplacedParts | null>(null);
export const rivals = signal<Rivals | null>(null);
export const scan = signal<Scan | null>(null);
export const others = signal<Others | null>(null); // what other models do in this context
export const drawnOther = signal<string | null>(null); // which of many is drawn
export const withEdges = signal(false);
export const withSource = signal(false);
export const then = signal<Then>("world");
export const hovered = signal<number | null>(null);
export const zoom = signal<[number, number] | null>(null); // steps shown on the strip
export const placing = signal<string | null>(null); // the fact whose new place the next click says
export const problem = signal("");
export const waiting = signal(0);
export const seconds = signal(0); // for how long the page has been waiting
export const progress = signal(""); // how far a long run is
export const painted = signal(0); // milliseconds from the last change until it was drawn
export const live = signal<Live | null>(null); // those who live side by side
export const running = signal(false); // whether they go on by themselves
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

/** Count the seconds of a wait, and ask how far the server is. */
async function tick(): Promise<void> {
  seconds.value++;
  const at = await get<{ title?: string; done: number; total: number }>("progress").catch(() => null);
  if (waiting.value > 0) progress.value = at?.title ? `${at.title}, ${Math.floor((100 * at.done) / at.total)} %` : "";
}

/** What a claim makes of the model, and what it says itself: nobody who lives before its file may run. */
export const OF_CLAIM = ["scrubbed", "explanation"];

/** Let those live who were chosen, as far as that was chosen. */
export async function liveOn(parts: Partial<LiveReference>): Promise<Outcome> {
  const current = state.value!;
  const chosen: LiveReference = { ...(current.live ?? { of: ["model"], since: 0, until: 0, seed: 0 }), ...parts };
  const next: State = { ...current, live: chosen };
  state.value = next;
  void address();
  if (chosen.of.some((who) => OF_CLAIM.includes(who)) && !(next.claim && ran.value.has(next.claim.file))) {
    live.value = null;
    return "refused";
  }
  const number = latest;
  return guarded(async () => {
    const answer = await ask<LiveAnswer>("live", next);
    if (number === latest && state.value?.live === chosen) live.value = decodeLive(answer);
  });
}

/** Let them live on by themselves, so many steps a second, until they are paused or have lived their whole lives. */
export async function run(pace: number): Promise<void> {
  running.value = true;
  let [steps, number] = [1, latest];
  while (running.value && number === latest) {
    const { until } = state.value!.live!;
    const longest = live.value?.longest ?? Infinity;
    if (until >= longest) break;
    const asked = performance.now();
    if ((await liveOn({ until: Math.min(until + steps, longest) })) !== "done") break;
    const took = performance.now() - asked;
    // as fast as they can: so many steps at once that the page is drawn some times a second
    if (pace === Infinity) steps = Math.max(1, Math.min(40, took < 60 ? steps * 2 : took > 200 ? Math.floor(steps / 2) : steps));
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, 1000 / pace - took)));
  }
  running.value = false;
}

/** Take one of the lives as the context. */
export async function takeLife(who: string): Promise<void> {
  const { edits, live: chosen } = base();
  const { since, until, seed } = chosen!;
  running.value = false;
  const step = Math.max(0, until - 1);
  if (!OF_CLAIM.includes(who)) return change({ edits: [...edits, { kind: "live", who, since, until, seed }], step, live: null });
  await guarded(async () => {
    const origin = await ask<Origin>("taken", state.value!, { who });
    await change({ origin, edits: [], step, live: null });
  });
}

/** Take back what this page asked for and has not got yet. */
export async function cancel(): Promise<void> {
  await post("cancel", { page }).catch(() => null);
}

let clock: ReturnType<typeof setInterval> | undefined;

type Outcome = "done" | "replaced" | "refused";

async function guarded(work: () => Promise<void>): Promise<Outcome> {
  if (waiting.value++ === 0) {
    seconds.value = 0;
    progress.value = "";
    clock = setInterval(tick, 1000);
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
    const view = known ?? (await post<ModelView>("model", { page, name: next.model.name }));
    if (number !== latest) throw new Replaced();
    const answer = await ask<ContextAnswer>("context", next);
    if (number !== latest) throw new Replaced();
    const shown = decodeContext(answer);
    wanted = null;
    batch(() => {
      if (!known) look.value = learners.value = carriers.value = ablations.value = null;
      model.value = view;
      context.value = shown;
      state.value = { ...next, model: { name: next.model.name, sha256: next.model.sha256 || view.sha256 } };
    });
    if (zoom.value && zoom.value[1] > shown.nSteps) zoom.value = null;
    await address();
    void keep();
    scrub.value = null;
    replaced.value = null;
    rivals.value = null;
    others.value = null;
    live.value = null;
    running.value = false;
    void inspect().then(() => (number === latest && state.value?.live?.until ? liveOn({}) : undefined));
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
  const outcome = await guarded(async () => {
    const answer = await ask<LookAnswer>("look", current);
    if (number === asked) look.value = decodeLook(answer);
  });
  if (number !== asked) return;
  learners.value = null;
  if (isCopy && outcome === "refused") {
    look.value = carriers.value = scrub.value = null; // of this step nothing is known
    return;
  }
  void carried(current, number);
  void taken(current, number);
  void scanned(current, number);
  void compared(current, number);
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

/** Ask what the model does here as one thing varies. */
async function scanned(current: State, number: number): Promise<void> {
  if (scan.value?.step !== current.step || scan.value?.vary !== current.scan?.vary) scan.value = null;
  if (!current.scan) return;
  await guarded(async () => {
    const answer = await ask<Scan>("scan", current);
    if (number === asked) scan.value = answer;
  });
}

/** Ask what other models do in this context, one after the other, unless that is known. */
async function compared(current: State, number: number): Promise<void> {
  const known = others.value ?? { models: {}, absent: {}, code: "" };
  const still = <Value>(values: Record<string, Value>) => Object.fromEntries(Object.entries(values).filter(([name]) => current.others.includes(name)));
  const code = current.others.map((name) => known.code.split("\n").find((line) => line.includes(`'${name}'`)) ?? "").filter(Boolean).join("\n");
  others.value = current.others.length ? { models: still(known.models), absent: still(known.absent), code } : null;
  for (const name of current.others) {
    if (number !== asked) return;
    if (name in others.value!.models || name in others.value!.absent) continue;
    await guarded(async () => {
      const { models, absent, code } = decodeOthers(await ask<OthersAnswer>("others", { ...current, others: [name] }));
      if (number !== asked) return;
      const { value } = others;
      others.value = { models: { ...value!.models, ...models }, absent: { ...value!.absent, ...absent }, code: [value!.code, code].filter(Boolean).join("\n") };
    });
  }
}

const MOST_DRAWN = 4; // other models that are drawn on the line and stand in Step

/** The other models that are drawn: all that were chosen, or the one of many. */
export const drawnOthers = computed(() => {
  const chosen = state.value?.others ?? [];
  const names = chosen.length <= MOST_DRAWN ? chosen : chosen.filter((name) => name === (drawnOther.value ?? chosen[0]));
  return names.flatMap((name) => (others.value?.models[name] ? [{ name, ...others.value.models[name] }] : []));
});

/** Ask what is left without the parts that were chosen and, where that is wanted, what each part alone does. */
async function taken(current: State, number: number): Promise<void> {
  const { parts, by } = current.replaced;
  if (ablations.value?.step !== current.step) ablations.value = null;
  if (ablating.value && by !== "difference") {
    await guarded(async () => {
      const answer = await ask<Ablations>("ablations", current, { edges: withEdges.value });
      if (number === asked) ablations.value = answer;
    });
  }
  if (!parts.length || (by === "difference" && !context.value?.before?.changed)) {
    replaced.value = null;
    return;
  }
  if (number !== asked) return;
  await guarded(async () => {
    const answer = await ask<ReplacedAnswer>("replaced", current);
    if (number === asked) replaced.value = decodeReplaced(answer);
  });
}

/** Replace a part, too, or not any more. */
export function togglePart(part: string, by: State["replaced"]["by"]): Promise<void> {
  const now = state.value!.replaced;
  const difference = (now.by === "difference") !== (by === "difference"); // parts are chosen anew
  const parts = difference ? [] : now.parts;
  const chosen = parts.includes(part) ? parts.filter((name) => name !== part) : [...parts, part];
  return choose({ replaced: { ...now, by, parts: chosen } });
}

/** Compare with the context as it is now, whatever is done to it from here on. */
export function pinPartner(): Promise<void> {
  const { origin, edits } = base();
  return change({ partner: { origin, edits } });
}

/** Compare with the context before the last edit again. */
export function dropPartner(): Promise<void> {
  return change({ partner: null });
}

/** Let the context and what it is compared with change places. */
export function exchange(): Promise<void> {
  const { origin, edits, partner } = base();
  const other: Partner = partner!;
  return change({ origin: other.origin, edits: other.edits, partner: { origin, edits } });
}

/** Scrub the context by the chosen hypothesis, if the user let its file run. */
async function scrubbed(current: State, number: number): Promise<void> {
  if (!current.claim || !ran.value.has(current.claim.file)) return;
  await guarded(async () => {
    const answer = await ask<ScrubAnswer>("claim", current);
    if (number === asked) scrub.value = decodeScrub(answer);
  });
  const { rival } = current.claim;
  if (!rival || !ran.value.has(rival.file) || number !== asked) return;
  if (rivals.value) return; // where two claims part does not depend on the step
  await guarded(async () => {
    const answer = await ask<RivalsAnswer>("rivals", current);
    if (number === asked) rivals.value = decodeRivals(answer);
  });
}

/** Let a hypothesis file run, on this context and on those that come. */
export async function runClaim(claim: ClaimReference): Promise<void> {
  ran.value = new Set([...ran.value, claim.file, ...(claim.rival ? [claim.rival.file] : [])]);
  scrub.value = null;
  rivals.value = null;
  await choose({ claim });
}

/** Keep the state on the server once something was done, so that it is found again. */
async function keep(): Promise<void> {
  if (past.value.length && state.value) await ask("keep", state.value).catch(() => null);
}

async function address(): Promise<void> {
  if (!state.value || isFrame) return;
  const fragment = `#${await packed(state.value)}`;
  history.replaceState(null, "", isCopy ? fragment : `./${fragment}`); // of a server's page, without the token
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
type Chosen = Partial<Pick<State, "step" | "of" | "head" | "received" | "replaced" | "scan" | "others" | "claim" | "notes">>;

export async function choose(parts: Chosen): Promise<void> {
  if (!state.value || !context.value) return;
  const step = Math.max(0, Math.min(parts.step ?? state.value.step, context.value.nSteps - 1));
  if ("claim" in parts && changesRivals(state.value.claim, parts.claim ?? null)) rivals.value = null;
  const inspected = step !== state.value.step || ["of", "received", "replaced", "scan", "others", "claim"].some((name) => name in parts);
  changedAt = performance.now();
  state.value = { ...state.value, ...parts, step };
  if (wanted) wanted = { ...wanted, ...parts, step };
  if (zoom.value && (step < zoom.value[0] || step >= zoom.value[1])) zoom.value = null;
  void address();
  if (inspected) await inspect();
}

/** Whether where two claims part has to be asked anew. */
function changesRivals(before: ClaimReference | null, after: ClaimReference | null): boolean {
  const asked = (claim: ClaimReference | null) => JSON.stringify(claim && [claim.file, claim.name, claim.rows, claim.rival]);
  return asked(before) !== asked(after);
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
  const { step, origin, edits } = base();
  if (origin.kind === "play" && step === origin.actions.length - 1 && advance && !edits.some((edit) => edit.kind === "rearrange")) {
    // the context grows by a step; what is done at the new last one is not decided yet, and nobody sees it
    const actions = [...origin.actions.slice(0, -1), action, action];
    return change({ origin: { ...origin, actions }, step: step + 1 });
  }
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

const FIRST: FromHistories = { kind: "histories", row: 0, rows: 8, data: "source", tasks: "held-out", seed: 0, source: null };

export function changeOrigin(parts: Partial<FromHistories>): Promise<void> {
  const { origin } = base();
  const plain = origin.kind === "histories" ? origin : FIRST;
  return change({ origin: { ...plain, ...parts }, edits: [] });
}

/** Begin an empty context, to be written by hand. */
export function playByHand(task: number, tasks: Tasks): Promise<void> {
  const origin: Origin = { kind: "play", actions: [model.value!.actions[0]], task, tasks, seed: 0 };
  return change({ origin, edits: [], step: 0 });
}

export function changeModel(name: string): Promise<void> {
  zoom.value = null;
  const replaced = { parts: [], by: "zero", rows: 64 } as const;
  const rest = { partner: null, step: 0, of: null, head: null, received: false, scan: null, others: [], live: null, claim: null };
  return change({ model: { name }, origin: FIRST, edits: [], ...rest, replaced: { ...replaced, parts: [] } });
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
    const opened = await post<State>("report", { page, file, worst });
    await change(opened);
  });
}

export async function openSession(name: string): Promise<void> {
  await guarded(async () => change(await post<State>("session", { name })));
}

export async function begin(): Promise<void> {
  let first: State | null = null;
  await guarded(async () => {
    const start = await get<{ models: string[]; claims: ClaimFile[]; state: State }>("start");
    models.value = start.models;
    claims.value = start.claims;
    if (isCopy && start.state.claim) ran.value = new Set([start.state.claim.file]); // nothing runs: it is known what it said
    first = start.state;
    if (location.hash.length > 1) {
      try {
        first = { ...start.state, ...(await unpacked(location.hash.slice(1))) }; // an older link lacks what is newer
      } catch {
        problem.value = "The link is damaged: what follows # in it is not a whole state. Shown is where the explorer was started.";
      }
    }
  });
  const damaged = problem.value;
  if (first) await show(first);
  if (damaged) problem.value = damaged;
}
