import { signal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { openFile, openSession } from "../store.ts";
import { get } from "../transport.ts";
import type { SessionLine } from "../types.ts";
import { Dialog } from "./dialog.tsx";
import { say } from "./panel.tsx";

const showing = signal(false);
const sessions = signal<SessionLine[] | null>(null);

/** Open a file, or what was done on a page before. */
export function Open() {
  const file = useRef<HTMLInputElement>(null);
  const show = async () => {
    showing.value = true;
    sessions.value = await get<SessionLine[]>("sessions").catch((error) => {
      say(error.message);
      return [];
    });
  };
  return (
    <>
      <button title="Open a file, or a former session" onClick={show}>
        Open
      </button>
      <input
        ref={file}
        type="file"
        accept="application/json,.json"
        hidden
        onChange={async (event) => {
          const chosen = event.currentTarget.files?.[0];
          event.currentTarget.value = "";
          showing.value = false;
          if (chosen) await openFile(await chosen.text());
        }}
      />
      {showing.value && (
        <Dialog name="Open" close={() => (showing.value = false)}>
          <button onClick={() => file.current!.click()}>A file: a saved state, or a history</button>
          <h3>Sessions before</h3>
          {sessions.value === null && <p class="small">reading</p>}
          {sessions.value?.length === 0 && <p class="small">None yet: what you change on a page is kept here.</p>}
          <ul class="sessions">
            {sessions.value?.map(({ name, when, words }) => (
              <li>
                <button
                  onClick={() => {
                    showing.value = false;
                    void openSession(name);
                  }}
                >
                  {when}
                </button>{" "}
                {words}
              </li>
            ))}
          </ul>
        </Dialog>
      )}
    </>
  );
}
