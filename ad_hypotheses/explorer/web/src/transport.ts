// How the page asks: here over HTTP; what draws and edits knows nothing of it.
import type { Context, ContextAnswer, Donor, Look, LookAnswer, Scrub, ScrubAnswer, State } from "./types.ts";

export class Refused extends Error {}
/** A newer question came first: not a mistake. */
export class Replaced extends Error {}

const page = Math.random().toString(36).slice(2);

export async function get<Answer>(path: string): Promise<Answer> {
  return answer(await reached(fetch(`api/${path}`)));
}

export async function post<Answer>(path: string, content: unknown): Promise<Answer> {
  const request = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(content) };
  return answer(await reached(fetch(`api/${path}`, request)));
}

export function ask<Answer>(panel: string, state: State, more: Record<string, unknown> = {}): Promise<Answer> {
  return post(panel, { page, state, ...more });
}

async function reached(response: Promise<Response>): Promise<Response> {
  try {
    return await response;
  } catch {
    throw new Refused("The server does not answer. Is it still running? Start it again and open the link that it prints; this page's state is in its address.");
  }
}

async function answer<Answer>(response: Response): Promise<Answer> {
  const content = await response.json().catch(() => ({ error: `The server answered ${response.status}.` }));
  if (response.status === 409) throw new Replaced();
  if (!response.ok) throw new Refused(content.error);
  return content;
}

function bytes(text: string): ArrayBuffer {
  const binary = atob(text);
  const buffer = new Uint8Array(binary.length);
  for (let place = 0; place < binary.length; place++) buffer[place] = binary.charCodeAt(place);
  return buffer.buffer;
}

export const int16 = (text: string): Int16Array => new Int16Array(bytes(text));
export const float32 = (text: string): Float32Array => new Float32Array(bytes(text));

export function decodeContext(answer: ContextAnswer): Context {
  const { n_steps: nSteps, observations, actions, rewards, episode, log_probs, loss, before, regimes, ...rest } = answer;
  const number = int16(episode);
  const starts = [...number.keys()].filter((step) => step === 0 || number[step] !== number[step - 1]);
  const seen = int16(observations);
  const logProbs = float32(log_probs);
  const impossible = new Map<number, string>();
  for (const [words, steps] of Object.entries(answer.impossible)) for (const step of steps) impossible.set(step, words);
  return {
    ...rest,
    nSteps,
    nActions: logProbs.length / nSteps,
    nChannels: seen.length / nSteps,
    observations: seen,
    actions: int16(actions),
    rewards: float32(rewards),
    episode: number,
    firstEpisode: 0,
    starts: [...starts, nSteps],
    logProbs,
    loss: float32(loss),
    before: before && {
      logProbs: float32(before.log_probs),
      returns: before.returns,
      changed: before.changed === null ? null : float32(before.changed),
    },
    regime: int16(regimes.step),
    regimeNames: regimes.names,
    impossible,
  };
}

export function decodeLook(answer: LookAnswer): Look {
  return { ...answer, weights: float32(answer.weights) };
}

export function decodeScrub(answer: ScrubAnswer): Scrub {
  return { ...answer, logProbs: float32(answer.log_probs), divergence: float32(answer.divergence) };
}

/** The episode in which a donor lies, drawn as contexts are; null where nobody stood in. */
export function donorContext(donor: Donor): Context | null {
  if (donor.observations === undefined) return null;
  const actions = int16(donor.actions!);
  const rewards = float32(donor.rewards!);
  const seen = int16(donor.observations);
  return {
    nSteps: actions.length,
    nActions: 0,
    nChannels: seen.length / actions.length,
    observations: seen,
    actions,
    rewards,
    episode: new Int16Array(actions.length),
    firstEpisode: donor.episode!,
    starts: [0, actions.length],
    logProbs: new Float32Array(),
    loss: new Float32Array(),
    before: null,
    regime: new Int16Array(actions.length),
    regimeNames: [],
    impossible: new Map(),
    returns: [rewards.reduce((sum, reward) => sum + reward, 0)],
    optimum: null,
    facts: {},
    world: donor.world!,
    fitting: [],
    edits: [],
    code: "",
    headline: "",
    warning: "",
  };
}

// A state in the address, after #, where no server sees it: deflated, base64url.

export async function packed(state: State): Promise<string> {
  const stream = new Blob([JSON.stringify(state)]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  const content = new Uint8Array(await new Response(stream).arrayBuffer());
  let binary = "";
  for (const byte of content) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

export async function unpacked(text: string): Promise<State> {
  const content = bytes(text.replaceAll("-", "+").replaceAll("_", "/"));
  const stream = new Blob([content]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return JSON.parse(await new Response(stream).text());
}
