import { Ago, useHouse } from './house';
import { IAlert, IOperation, IPart, IPod } from './contract';
import { begin } from './pods';
import { IView } from './store';
import { Trouble } from './frame';
import { webAddress } from './text';

/** What must be settled; it stays until it is. */
export function Alerts(props: { part: IPart<IAlert> | null; pods: readonly IPod[] | null }) {
  const house = useHouse();
  const { t } = house;
  const items = props.part?.items ?? [];
  if (!items.length) {
    return props.part?.error ? <div class="gp-note gp-note-error"><Trouble trouble={props.part.error} /></div> : null;
  }
  return (
    <section class="gp-alerts" aria-label={t.__('Alerts')} aria-live="polite">
      {items.map(alert => {
        const pod = props.pods?.find(each => each.id === alert.pod);
        const console = webAddress(alert.console_url);
        return (
          <div key={alert.id} class={`gp-note gp-note-${alert.severity === 'error' ? 'error' : 'warning'}`}>
            <p>
              <strong>{alert.severity === 'error' ? t.__('Error') : t.__('Warning')}: </strong>
              {alert.text}
            </p>
            <p>
              <small>
                <Ago at={alert.since} />
                {alert.settles ? ` · ${alert.settles}` : ''}
              </small>
            </p>
            <div class="gp-row">
              {pod &&
                alert.actions
                  .filter(action => pod.may[action])
                  .map(action => (
                    <button key={action} type="button" onClick={() => begin(house, pod, action)}>
                      {action === 'destroy' ? t.__('Destroy') : action === 'adopt' ? t.__('Adopt') : action}
                    </button>
                  ))}
              {console && (
                <a href={console} target="_blank" rel="noopener noreferrer">
                  {t.__('Open its console')}
                </a>
              )}
            </div>
          </div>
        );
      })}
    </section>
  );
}

/** What was asked for and how it goes, and what was refused. */
export function Operations(props: { part: IPart<IOperation> | null; view: IView }) {
  const { t, store } = useHouse();
  const items = (props.part?.items ?? []).filter(each => each.state !== 'done').slice(-3);
  const refusals = props.view.refusals.slice(-3);
  return (
    <div class="gp-operations" role="status" aria-live="polite">
      {items.map(each => (
        <div key={each.id} class={`gp-note${each.state === 'failed' ? ' gp-note-error' : ''}`}>
          <p>
            {each.state === 'running' && <span class="gp-spin" aria-hidden="true" />}
            {each.text}
            {each.phase ? `: ${each.phase}` : ''}
          </p>
          {each.notes.slice(-2).map(note => (
            <p>
              <small>{note}</small>
            </p>
          ))}
          {each.error && <Trouble trouble={each.error} />}
        </div>
      ))}
      {refusals.map(each => (
        <div key={each.key} class="gp-note gp-note-error">
          <Trouble trouble={{ text: each.message, hint: each.hint, billing: each.billing }}>
            <button type="button" onClick={() => store.forgive(each.key)}>
              {t.__('Understood')}
            </button>
          </Trouble>
        </div>
      ))}
    </div>
  );
}
