import { ComponentChildren } from 'preact';
import { Ago, useHouse, useNow } from './house';
import { IFrame, ITrouble } from './contract';
import { condition } from './store';

/** What went wrong, whether money still runs, and what to do. */
export function Trouble(props: { trouble: ITrouble; children?: ComponentChildren }) {
  const { text, billing, hint } = props.trouble;
  return (
    <div class="gp-trouble">
      <p>{text}</p>
      {billing && <p>{billing}</p>}
      {hint && <p class="gp-hint">{hint}</p>}
      {props.children}
    </div>
  );
}

/** One part of the state with what must be said about it: loading, empty, stale, offline or an error; never blank. */
export function Frame(props: {
  name: string;
  frame: IFrame | null;
  count: number | null;
  empty: ComponentChildren;
  children: ComponentChildren;
}) {
  const { t, store } = useHouse();
  const now = useNow();
  const { frame, count, name } = props;
  const { link } = store.view;
  if (!frame && link !== 'live' && link !== 'connecting') {
    return <div class="gp-empty">{t.__('Nothing is known.')}</div>;
  }
  const how = frame ? condition(frame, count, now) : 'loading';
  const again = () => void store.act(`refresh ${name}`, 'actions/refresh', { parts: [name] });
  if (how === 'loading') {
    return (
      <div class="gp-wait" role="status">
        {t.__('Asking…')}
        <span class="gp-bone" />
        <span class="gp-bone" />
        <span class="gp-bone" />
      </div>
    );
  }
  return (
    <>
      {frame?.error && (
        <div class="gp-note gp-note-error" role="status">
          <Trouble trouble={frame.error}>
            {how === 'offline' && (
              <p>
                {t.__('What is shown was true')} <Ago at={frame.at} />
              </p>
            )}
            <button type="button" onClick={again}>
              {t.__('Try again')}
            </button>
          </Trouble>
        </div>
      )}
      {how === 'stale' && frame && (
        <div class="gp-note" role="status">
          {t.__('Not confirmed since')} <Ago at={frame.at} />
        </div>
      )}
      {count === 0 ? <div class="gp-empty">{props.empty}</div> : props.children}
    </>
  );
}
