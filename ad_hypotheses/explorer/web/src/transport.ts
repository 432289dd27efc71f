// What the page asks, and what it makes of the answers; what draws and edits knows nothing of it.
import type {
  Context,
  ContextAnswer,
  Donor,
  Live,
  LiveAnswer,
  Look,
  LookAnswer,
  Others,
  OthersAnswer,
  PartnerAnswer,
  Replaced as ReplacedParts,
  ReplacedAnswer,
  Rivals,
  RivalsAnswer,
  Scrub,
  ScrubAnswer,
  State,
} from "./types.ts";
import { wire } from "./wire.ts";

export class Refused extends Error {}
/** A newer question came first: not a mistake. */
export class Replaced extends Error {}

/** A question was taken back. */
export class Cancelled extends Refused {}

/** The name of the page, under which its state is kept; a reload goes on with it. */
export const page = remembered() ?? Math.random().toString(36).slice(2).padEnd(8, "0");

function remembered(): string | null {
  try {
    return sessionStorage.getItem("page");
  } catch {
    return null; // a frame, or a file, may have no storage
  }
}

try {
  sessionStorage.setItem("page", page);
} catch {
  // then a reload begins anew
}

export async function get<Answer>(path: string): Promise<Answer> {
  return answered(path);
}

export async function post<Answer>(path: string, content: unknown): Promise<Answer> {
  return answered(path, content);
}

export function ask<Answer>(panel: string, state: State, more: Record<string, unknown> = {}): Promise<Answer> {
  return post(panel, { page, state, ...more });
}

async function answered<Answer>(path: string, posted?: unknown): Promise<Answer> {
  const { status, body } = await wire(path, posted).catch(() => {
    throw new Refused("The server does not answer. Is it still running? Start it again and open the link that it prints; this page's state is in its address.");
  });
  const content = body as Answer & { unanswered?: string; error?: string };
  if (content?.unanswered === "replaced") throw new Replaced();
  if (content?.unanswered === "cancelled") throw new Cancelled("Cancelled: what is shown is what was there before.");
  if (status >= 300) throw new Refused(content.error);
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
    starts: startsOf(number),
    logProbs,
    loss: float32(loss),
    before: before && {
      logProbs: float32(before.log_probs),
      returns: before.returns,
      partner: before.partner && decodePartner(before.partner, before.returns),
      changed: before.changed === null ? null : float32(before.changed),
    },
    regime: int16(regimes.step),
    regimeNames: regimes.names,
    impossible,
  };
}

/** First step of each episode, and at the end the number of steps. */
function startsOf(episode: Int16Array): number[] {
  const starts = [...episode.keys()].filter((step) => step === 0 || episode[step] !== episode[step - 1]);
  return [...starts, episode.length];
}

function decodePartner(answer: PartnerAnswer, returns: number[]): Context {
  const episode = int16(answer.episode);
  return bare(int16(answer.observations), int16(answer.actions), float32(answer.rewards), episode, answer.world, returns);
}

export function decodeLive({ lives, ...rest }: LiveAnswer): Live {
  return { ...rest, lives: Object.fromEntries(Object.entries(lives).map(([name, life]) => [name, decodePartner(life, life.returns)])) };
}

export function decodeReplaced({ log_probs, divergence, ...rest }: ReplacedAnswer): ReplacedParts {
  return { ...rest, logProbs: float32(log_probs), divergence: float32(divergence) };
}

export function decodeRivals({ kl_claim, kl_rival, ...rest }: RivalsAnswer): Rivals {
  return { ...rest, klClaim: float32(kl_claim), klRival: float32(kl_rival) };
}

export function decodeOthers({ models, ...rest }: OthersAnswer): Others {
  const decoded = Object.entries(models).map(([name, { log_probs, divergence }]) => [
    name,
    { logProbs: float32(log_probs), divergence: float32(divergence) },
  ]);
  return { ...rest, models: Object.fromEntries(decoded) };
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
  const sum = rewards.reduce((total, reward) => total + reward, 0);
  const episode = new Int16Array(actions.length);
  return { ...bare(seen, actions, rewards, episode, donor.world!, [sum]), firstEpisode: donor.episode! };
}

/** A context of which only what was lived is known, and not what the model does. */
function bare(
  observations: Int16Array,
  actions: Int16Array,
  rewards: Float32Array,
  episode: Int16Array,
  world: Context["world"],
  returns: number[],
): Context {
  return {
    nSteps: actions.length,
    nActions: 0,
    nChannels: observations.length / actions.length,
    observations,
    actions,
    rewards,
    episode,
    firstEpisode: 0,
    starts: startsOf(episode),
    logProbs: new Float32Array(),
    loss: new Float32Array(),
    before: null,
    regime: new Int16Array(actions.length),
    regimeNames: [],
    impossible: new Map(),
    returns,
    optimum: null,
    facts: {},
    world,
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
