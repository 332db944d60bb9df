import { Ago, useHouse, useNow } from './house';
import { dollars, micros } from './money';
import { duration, ITranslate, moment } from './text';
import { Frame } from './frame';
import { IJob, IPart, IPod } from './contract';
import { IView } from './store';
import { List } from './list';

const HEIGHT = 58;

/** The cells that run and those that ran. */
export function Jobs(props: { view: IView; part: IPart<IJob> | null; pods: readonly IPod[] | null }) {
  const { t } = useHouse();
  const items = props.part?.items ?? null;
  const models = new Map((props.pods ?? []).map(pod => [pod.id, pod.gpu]));
  const empty = <p>{t.__('No cell has run on a GPU yet: put %1 on the first line of one.', '%%remote_gpu')}</p>;
  return (
    <Frame name="jobs" frame={props.part} count={items?.length ?? null} empty={empty}>
      <List
        rows={items ?? []}
        height={HEIGHT}
        label={t.__('Cells')}
        keyOf={job => job.id}
        draw={(job, active) => (
          <Job job={job} active={active} gpu={models.get(job.pod ?? '')} sent={props.view.sent.get(`cancel ${job.id}`)} />
        )}
      />
    </Frame>
  );
}

function jobWords(t: ITranslate, state: string): string {
  const words: Record<string, string> = { running: t.__('running'), ok: t.__('done'), error: t.__('error') };
  return words[state] ?? state;
}

function Job(props: { job: IJob; active: boolean; gpu: string | undefined; sent: 'sent' | 'waiting' | undefined }) {
  const { t, store } = useHouse();
  const { job, sent } = props;
  const cancel = () => void store.act(`cancel ${job.id}`, 'actions/cancel', { job: job.id });
  return (
    <div class="gp-job">
      <div class="gp-row">
        <strong class="gp-grow gp-cut">{job.notebook ?? t.__('no notebook')}</strong>
        <span class={`gp-badge gp-is-${job.state}`}>{jobWords(t, job.state)}</span>
        {job.may.cancel && (
          <button type="button" tabIndex={props.active ? 0 : -1} disabled={sent !== undefined} onClick={cancel}>
            {sent === 'waiting' ? t.__('queued until the cell ends') : t.__('Cancel')}
          </button>
        )}
      </div>
      <small class="gp-cut">
        {props.gpu ? `${props.gpu} · ` : ''}
        <Took job={job} /> · {dollars(micros(job.cost_usd), 4)} · <Ago at={job.started} />
      </small>
    </div>
  );
}

function Took(props: { job: IJob }) {
  const now = useNow();
  const { seconds, started, ended } = props.job;
  const begun = moment(started);
  const took = seconds ?? (ended === null && begun !== null ? (now - begun) / 1000 : null);
  return <span>{took === null ? '–' : duration(took)}</span>;
}
