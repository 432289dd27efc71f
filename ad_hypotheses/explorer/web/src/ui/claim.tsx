import { useSignal } from "@preact/signals";
import { drawEpisode } from "../draw/episodes.ts";
import { csv } from "../save.ts";
import { choose, claims, context, model, ran, rivals, runClaim, scrub, selected, state } from "../store.ts";
import { donorContext } from "../transport.ts";
import type { ClaimFile, ClaimReference, Donor, Scrub } from "../types.ts";
import { stepName } from "../words.ts";
import { Canvas } from "./canvas.tsx";
import { isCopy } from "../wire.ts";
import { Panel, copy } from "./panel.tsx";

/** A hypothesis on this context: how far scrubbing moves the model at every step, and who stood in for what here. */
export function ClaimPanel() {
  const claim = state.value!.claim;
  const shown = scrub.value;
  const runs = claim !== null && ran.value.has(claim.file);
  const rival = claim?.rival ?? null;
  return (
    <Panel
      name="Hypothesis"
      help="The context scrubbed by a hypothesis: whatever it calls irrelevant is taken from other histories that agree in what it calls relevant."
      code={shown?.code}
      data={shown ? () => donorsTable(shown) : undefined}
      tools={!isCopy && <Choice />}
    >
      {!claim && <p class="small">Choose a hypothesis to see whether it holds in this context.</p>}
      {claim && !runs && (
        <p>
          A hypothesis is code.{" "}
          <button onClick={() => runClaim(claim)}>
            Run {claim.file}
          </button>
        </p>
      )}
      {claim && runs && rival && !ran.value.has(rival.file) && (
        <p>
          The other hypothesis is code, too. <button onClick={() => runClaim(claim)}>Run {rival.file}</button>
        </p>
      )}
      {runs && !shown && <p class="small">scrubbing; the first time takes some seconds</p>}
      {shown && claim && <Outcome shown={shown} claim={claim} />}
    </Panel>
  );
}

const stem = ({ file }: ClaimFile): string => file.replace(/^.*?hypotheses\//, "").replace(/\.py$/, "");

function Choice() {
  const claim = state.value!.claim;
  const file = claims.value.find((entry) => entry.file === claim?.file);
  const take = (parts: Partial<ClaimReference>) => choose({ claim: { ...claim!, ...parts } });
  return (
    <span class="row">
      <select
        aria-label="hypothesis"
        value={claim?.file ?? ""}
        onChange={(event) => {
          const chosen = claims.value.find((entry) => entry.file === event.currentTarget.value);
          void choose({ claim: chosen ? { file: chosen.file, name: chosen.names[0] ?? null, rows: 64, passes: 2, seed: 0, pins: [], rival: null } : null });
        }}
      >
        <option value="">none</option>
        {claims.value.map((entry) => (
          <option value={entry.file} title={entry.title}>
            {stem(entry)}
          </option>
        ))}
      </select>
      {claim && file && file.names.length > 1 && (
        <select aria-label="which of the file" value={claim.name ?? ""} onChange={(event) => take({ name: event.currentTarget.value })}>
          {file.names.map((name) => (
            <option value={name}>{name}</option>
          ))}
        </select>
      )}
      {claim && ran.value.has(claim.file) && (
        <button title="Draw other donors" onClick={() => take({ seed: claim.seed + 1 })}>
          Draw again
        </button>
      )}
      {claim && ran.value.has(claim.file) && <RivalChoice claim={claim} />}
    </span>
  );
}

/** Another hypothesis: where do the two part on this context? */
function RivalChoice({ claim }: { claim: ClaimReference }) {
  const names = claims.value.flatMap((entry) => entry.names.map((name) => ({ entry, name })));
  const value = claim.rival ? `${claim.rival.file} ${claim.rival.name}` : "";
  return (
    <select
      aria-label="hypothesis to compare with"
      title="Where do the two part on this context?"
      value={value}
      onChange={(event) => {
        const chosen = names.find(({ entry, name }) => `${entry.file} ${name}` === event.currentTarget.value);
        void choose({ claim: { ...claim, rival: chosen ? { file: chosen.entry.file, name: chosen.name } : null } });
      }}
    >
      <option value="">against no other</option>
      {names.map(({ entry, name }) => (
        <option value={`${entry.file} ${name}`}>
          against {name} ({stem(entry)})
        </option>
      ))}
    </select>
  );
}

/** Where the two claims part: whom each alone lets stand in, and how far the model is from there. */
function Parting() {
  const shown = rivals.value;
  if (!shown) return null;
  const step = selected.value;
  const current = context.value!;
  const worst = (values: Float32Array) => values.reduce((best, value, at) => (value > (values[best] || -1) ? at : best), 0);
  const line = (name: string, count: number, kls: Float32Array) => (
    <li>
      by <b>{name}</b> alone {count} stand in here
      {!Number.isNaN(kls[step]) && `, where the model is ${kls[step].toFixed(3)} nats away`}
      {kls[worst(kls)] > 0.0005 && (
        <>
          ; furthest away at{" "}
          <button class="quiet" onClick={() => choose({ step: worst(kls) })}>
            step {stepName(current, worst(kls))}
          </button>
        </>
      )}
    </li>
  );
  return (
    <div class="parting">
      <p class="small">
        {shown.headline}
        <button class="quiet" title={shown.code} onClick={() => copy(shown.code, "copied")}>
          Python
        </button>
      </p>
      <ul>
        <li>by both {shown.both[step]} histories stand in here</li>
        {line(shown.claim, shown.only_claim[step], shown.klClaim)}
        {line(shown.rival, shown.only_rival[step], shown.klRival)}
      </ul>
    </div>
  );
}

function Outcome({ shown, claim }: { shown: Scrub; claim: ClaimReference }) {
  const pass = useSignal(0);
  const current = context.value!;
  const worst = shown.divergence.indexOf(Math.max(...shown.divergence));
  const here = shown.divergence[shown.step];
  const chosen = shown.donors.filter((donor) => donor.pass === Math.min(pass.value, shown.passes - 1));
  return (
    <>
      <p class="where">
        Scrubbed by <b>{shown.claim}</b> with donors from {shown.n_among} other histories, the model moves by {shown.mean.toFixed(3)} nats
        on average, here by <b>{here.toFixed(3)}</b>, most at{" "}
        <button class="quiet" onClick={() => choose({ step: worst })}>
          step {stepName(current, worst)}
        </button>
        <label inert={isCopy}>
          histories{" "}
          <input
            type="number"
            min={8}
            max={1024}
            step={8}
            key={claim.rows}
            defaultValue={`${claim.rows}`}
            onChange={(event) => choose({ claim: { ...claim, rows: Number(event.currentTarget.value) } })}
          />
        </label>
      </p>
      <div class="row" role="radiogroup" aria-label="pass">
        Who {shown.step === selected.value ? "stood in at this step" : `stood in at step ${stepName(current, shown.step)}`}, in pass
        {Array.from({ length: shown.passes }, (_, number) => (
          <button role="radio" aria-checked={pass.value === number} onClick={() => (pass.value = number)}>
            {number}
          </button>
        ))}
      </div>
      <ul class="donors">
        {chosen.map((donor) => (
          <DonorLine key={`${donor.arrow} ${donor.pass}`} donor={donor} claim={claim} step={shown.step} />
        ))}
      </ul>
      <Parting />
    </>
  );
}

/** Who else may stand in: whoever is chosen does, in every pass, until that is taken back. */
function Members({ donor, claim, step }: { donor: Donor; claim: ClaimReference; step: number }) {
  const pinned = claim.pins.find((pin) => pin.arrow === donor.arrow && pin.step === step);
  if (!pinned && donor.n_members < 2) return <span class="small">nobody else agrees</span>;
  const others = claim.pins.filter((pin) => pin !== pinned);
  const at = donor.members.findIndex(([row, donorStep]) => row === donor.row && donorStep === donor.step);
  const pin = (place: number) => {
    const [row, donorStep] = donor.members[(place + donor.members.length) % donor.members.length];
    void choose({ claim: { ...claim, pins: [...others, { arrow: donor.arrow, step, row, donor_step: donorStep }] } });
  };
  return (
    <span class="members" inert={isCopy}>
      <button class="quiet" aria-label={`before of ${donor.arrow}`} title="the one before of those that agree" onClick={() => pin(at - 1)}>
        ‹
      </button>
      {at >= 0 ? `${at + 1} of ` : ""}
      {donor.n_members} that agree
      <button class="quiet" aria-label={`next of ${donor.arrow}`} title="the next of those that agree" onClick={() => pin(at + 1)}>
        ›
      </button>
      {pinned && (
        <button class="quiet" title="Draw at random again" onClick={() => choose({ claim: { ...claim, pins: others } })}>
          pinned ✕
        </button>
      )}
    </span>
  );
}

function DonorLine({ donor, claim, step }: { donor: Donor; claim: ClaimReference; step: number }) {
  const arrow = donor.arrow.split(" < ").reverse().join(" → ");
  const shown = donorContext(donor);
  if (!shown) {
    return (
      <li>
        <b>{arrow}</b>
        <br />
        <span class="small">{donor.row === null ? "nothing is drawn at this step" : "no other history agrees: the context itself"}</span>
      </li>
    );
  }
  const within = donor.step! - donor.first!;
  return (
    <li>
      <div class="tile">
        <Canvas
          key={`${donor.row} ${donor.step}`}
          label={`episode ${donor.episode} of history ${donor.row}`}
          height={(width) => (shown.world.kind === "room" || shown.world.kind === "graph" || (shown.world.kind === "grid" && shown.world.map) ? width + 20 : 60)}
          draw={(pen, paint, width) => drawEpisode(pen, paint, shown, width, within, model.value!.actions)}
        />
      </div>
      <b>{arrow}</b>
      <br />
      {donor.made === null ? `history ${donor.row}` : "a history made of this one"}, step {donor.episode}.{within} ({donor.step})
      <br />
      <span class="small">
        {short(donor.token!)}; does {donor.does}
      </span>
      <br />
      {donor.made === null && <Members donor={donor} claim={claim} step={step} />}
    </li>
  );
}

const short = (token: string): string => {
  const parts = token.split(" ");
  return parts.length > 6 ? `… ${parts.slice(-3).join(" ")}` : token;
};

function donorsTable(shown: Scrub): string {
  const lines = shown.donors.map((donor) => [donor.pass, donor.arrow, donor.row ?? "", donor.step ?? "", donor.token ?? ""]);
  return csv(["pass", "arrow", "donor_row", "donor_step", "token"], lines);
}
