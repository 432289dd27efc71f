import { signal } from "@preact/signals";
import { openReport } from "../store.ts";
import { get } from "../transport.ts";
import type { ReportLine } from "../types.ts";
import { Dialog } from "./dialog.tsx";
import { say } from "./panel.tsx";

const reports = signal<ReportLine[] | null>(null);
const showing = signal(false);

/** The records of the folder of reports: each opens where its claim breaks. */
export function Reports() {
  const show = async () => {
    showing.value = true;
    reports.value = await get<ReportLine[]>("reports").catch((error) => {
      say(error.message);
      return [];
    });
  };
  const open = (file: string, worst: number) => {
    showing.value = false;
    void openReport(file, worst);
  };
  return (
    <>
      <button title="Open a context in which the claim of a report breaks" onClick={show}>
        Reports
      </button>
      {showing.value && (
        <Dialog name="Where claims break" close={() => (showing.value = false)}>
          {reports.value === null && <p>reading the records in reports/</p>}
          {reports.value?.length === 0 && <p>There is no record of scrub in reports/. Write one: python cli.py scrub HYPOTHESIS.</p>}
          {reports.value?.map(({ file, headline, worst }) => (
            <section>
              <h3 title={file}>{headline}</h3>
              <table class="worst">
                <tbody>
                  {worst.map((position, place) => (
                    <tr>
                      <td>
                        <button onClick={() => open(file, place + 1)}>
                          row {position.row}, step {position.place} ({position.step})
                        </button>
                      </td>
                      <td>{position.regime}</td>
                      <td>
                        {position.action}: {percent(position.model)} by the model, {percent(position.scrubbed)} scrubbed
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </section>
          ))}
        </Dialog>
      )}
    </>
  );
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
