// What the server sends and reads; ad_hypotheses/explorer/state.py and views.py are the other side.

export interface FromHistories {
  kind: "histories";
  row: number;
  rows: number;
  data: string;
  tasks: Tasks;
  seed: number;
  source?: string | null;
}
export type Tasks = "train" | "held-out" | "all";

/** Actions written by hand, from an empty context on. */
export interface FromPlay {
  kind: "play";
  actions: (string | number)[];
  task: number;
  tasks: Tasks;
  seed: number;
}
export interface FromTokens {
  kind: "tokens";
  history: Record<string, unknown>;
}
export type Origin = FromHistories | FromPlay | FromTokens;
export type Then = "world" | "model" | "nothing";

export interface StepEdit {
  kind: "edit";
  step: number;
  action?: string | number | null;
  reward?: number | null;
  observation?: number[] | null;
  then: Then;
  seed?: number;
  off?: boolean;
}
export interface Rearrangement {
  kind: "rearrange";
  episodes: number[];
  off?: boolean;
}
export interface FactsChange {
  kind: "change_facts";
  step: number;
  facts: Record<string, number | number[]>;
  seed?: number;
  off?: boolean;
}
export interface CounterfactualEdit {
  kind: "counterfactual";
  name: string;
  seed?: number;
  off?: boolean;
}
/** One of those who live side by side, in place of the context. */
export interface LivedEdit {
  kind: "live";
  who: string;
  since: number;
  until: number;
  seed: number;
  off?: boolean;
}
export type Edit = StepEdit | Rearrangement | FactsChange | CounterfactualEdit | LivedEdit;

export interface State {
  schema: 1;
  model: { name: string; sha256?: string };
  origin: Origin;
  edits: Edit[];
  partner: Partner | null;
  step: number;
  of: string | null;
  head: string | null;
  received: boolean;
  replaced: Replacement;
  scan: ScanReference | null;
  others: string[];
  live: LiveReference | null;
  claim: ClaimReference | null;
  notes: string;
}

/** A context that the one of the page is compared with. */
export interface Partner {
  origin: Origin;
  edits: Edit[];
}

/** Parts of the model that are replaced, and by what. */
export interface Replacement {
  parts: string[];
  by: "zero" | "mean" | "difference";
  rows: number;
}

/** One thing that varies while the model is asked at the selected step. */
export interface ScanReference {
  vary: string;
  since: number;
}

/** Who lives side by side in the world of the context. */
export interface LiveReference {
  of: string[];
  since: number;
  until: number;
  seed: number;
}

/** A hypothesis that is scrubbed on the context. */
export interface ClaimReference {
  file: string;
  name: string | null;
  rows: number;
  passes: number;
  seed: number;
  pins: Pin[];
  rival: Rival | null;
}

/** Who stands in for an arrow at a step, instead of whom is drawn. */
export interface Pin {
  arrow: string;
  step: number;
  row: number;
  donor_step: number;
}

export interface Rival {
  file: string;
  name: string | null;
}

export interface ClaimFile {
  file: string;
  names: string[];
  title: string;
}

export interface ModelView {
  name: string;
  sha256: string;
  task: string;
  words: string;
  actions: string[];
  rewards: number[];
  channels: string[];
  channel_sizes: number[];
  horizon: number;
  n_ctx: number;
  heads: string[];
  data: string[];
  sources: string[];
  counterfactuals: Record<string, string>;
  curves: Record<string, number[]>;
  card: string;
  code: string;
}

export type World =
  | { kind: "room"; width: number; height: number; places: Record<string, number[][]> } // a cell for every episode, or one for all
  | { kind: "arms"; means: number[] | null }
  | { kind: "graph"; states: number; next: number[][]; start: number; goal: number }
  | { kind: "grid"; view: number; map: GridMap | null }
  | { kind: "table" };

export interface GridMap {
  width: number;
  height: number;
  cells: number[][][]; // [x][y] type, colour, state
  agent: number[][]; // [step] x, y, direction
  goal: number[] | null;
}

/** What is said of a context, as it is sent and as it is drawn. */
interface Described {
  returns: number[];
  optimum: number | null;
  facts: Record<string, unknown>;
  world: World;
  fitting: string[];
  edits: string[];
  code: string;
  headline: string;
  warning: string;
}

export interface ContextAnswer extends Described {
  n_steps: number;
  observations: string;
  actions: string;
  rewards: string;
  episode: string;
  log_probs: string;
  loss: string;
  before: { log_probs: string; returns: number[]; changed: string | null; partner: PartnerAnswer | null; code: string } | null;
  regimes: { names: string[]; step: string };
  impossible: Record<string, number[]>;
}

/** A context of which only what was lived is known. */
export interface PartnerAnswer {
  n_steps: number;
  observations: string;
  actions: string;
  rewards: string;
  episode: string;
  world: World;
  facts: Record<string, unknown>;
}

/** A context as it is drawn: arrays in place of base64. */
export interface Context extends Described {
  nSteps: number;
  nActions: number;
  nChannels: number;
  observations: Int16Array; // [step, channel]
  actions: Int16Array; // [step]
  rewards: Float32Array; // [step]
  episode: Int16Array; // [step]
  firstEpisode: number; // what the first of them is called
  starts: number[]; // first step of each episode, and at the end the number of steps
  logProbs: Float32Array; // [step, action]
  loss: Float32Array; // [step]
  before: Before | null;
  regime: Int16Array; // [step]
  regimeNames: string[];
  impossible: Map<number, string>;
}

/** What the model did before the last edit, or in the context that this one is compared with. */
export interface Before {
  partner: Context | null;
  logProbs: Float32Array; // [step, action]
  returns: number[];
  changed: Float32Array | null; // [step], nats; null where the two are not of one length
}

export interface LookAnswer {
  step: number;
  heads: string[];
  weights: string;
  tokens: string[];
  roles: string[][];
  shares: Record<string, Record<string, number>>;
  received: boolean;
  attention_code: string;
  attribution: { of: string; logit: number; parts: Record<string, number>; remainder: number };
  attribution_code: string;
}
export interface Look extends Omit<LookAnswer, "weights"> {
  weights: Float32Array; // [head, step]
}

export interface LearnersAnswer {
  probabilities: Record<string, number[]>;
  absent: Record<string, string>;
  code: string;
}

/** Who stood in for an arrow at the selected step; without an episode nobody, or the context itself. */
export interface Donor {
  pass: number;
  arrow: string;
  row: number | null; // -1: the context itself
  step: number | null;
  made: number | null; // its number, where the history was made
  members: [number, number][]; // rows and steps that may stand in
  n_members: number;
  episode?: number;
  first?: number;
  observations?: string;
  actions?: string;
  rewards?: string;
  world?: World;
  token?: string;
  does?: string;
}

export interface ScrubAnswer {
  claim: string;
  n_among: number;
  headline: string;
  passes: number;
  log_probs: string;
  divergence: string;
  mean: number;
  step: number;
  donors: Donor[];
  code: string;
}
export interface Scrub extends Omit<ScrubAnswer, "log_probs" | "divergence"> {
  logProbs: Float32Array; // [pass, step, action]
  divergence: Float32Array; // [step], nats, mean over the passes
}

export interface ReportLine {
  file: string;
  headline: string;
  worst: { row: number; step: number; place: string; regime: string; action: string; model: number; scrubbed: number }[];
}

/** Which parts carry the difference that the last edit makes at the selected step. */
export interface Carriers {
  step: number;
  of: string;
  before: number;
  after: number;
  writers: Record<string, number>;
  edges: Record<string, number>;
  code: string;
}

/** The histories that the one of a context is chosen from. */
export interface RowsAnswer {
  returns: number[][]; // [row][episode]
  facts: Record<string, unknown>[]; // [row]
  code: string;
}

export interface SessionLine {
  name: string;
  when: string;
  words: string;
}

/** What every part does at the selected step, if it alone is replaced. */
export interface Ablations {
  step: number;
  of: string;
  by: string;
  value: number;
  writers: Record<string, number>;
  edges: Record<string, number>;
  code: string;
}

export interface ReplacedAnswer {
  parts: string[];
  by: Replacement["by"];
  log_probs: string;
  divergence: string;
  code: string;
}
export interface Replaced {
  parts: string[];
  by: Replacement["by"];
  logProbs: Float32Array; // [step, action]
  divergence: Float32Array; // [step], nats
  code: string;
}

/** Where two claims part on the context: how many histories each alone lets stand in, and what that costs. */
export interface RivalsAnswer {
  claim: string;
  rival: string;
  headline: string;
  both: number[];
  only_claim: number[];
  only_rival: number[];
  kl_claim: string; // [step], nats; NaN where nobody stands in
  kl_rival: string;
  code: string;
}
export interface Rivals extends Omit<RivalsAnswer, "kl_claim" | "kl_rival"> {
  klClaim: Float32Array;
  klRival: Float32Array;
}

/** What the model does at the selected step as one thing varies. */
export interface Scan {
  step: number;
  of: string;
  vary: string;
  since: number;
  values: (number[] | string | number)[];
  asked: number[];
  code: string;
}

/** What other models do in this context. */
export interface OthersAnswer {
  models: Record<string, { log_probs: string; divergence: string }>;
  absent: Record<string, string>;
  code: string;
}
export interface Others {
  models: Record<string, { logProbs: Float32Array; divergence: Float32Array }>;
  absent: Record<string, string>;
  code: string;
}

/** Those who live side by side, as far as they lived. */
export interface LiveAnswer {
  since: number;
  steps: number;
  longest: number;
  lives: Record<string, PartnerAnswer & { returns: number[] }>;
  absent: Record<string, string>;
  learners: Record<string, string>; // who can live in these tasks, in words
  code: string;
}
export interface Live extends Omit<LiveAnswer, "lives"> {
  lives: Record<string, Context>;
}
