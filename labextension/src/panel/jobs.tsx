import { Ago, IHouse, useHouse, useNow } from './house';
import { dollars, micros } from './money';
import { copied, duration, ITranslate, moment } from './text';
import { Frame } from './frame';
import { IJob, IPart, IPod, IProgress } from './contract';
import { IView } from './store';
import { List } from './list';
import { Meter } from './chart';

const HEIGHT = 58;
const AT_WORK = 26;
const MB = 1e6;

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
        height={HEIGHT + (items?.some(job => job.progress) ? AT_WORK : 0)}
        label={t.__('Cells')}
        keyOf={job => job.id}
        draw={(job, active) => (
          <Job job={job} active={active} gpu={models.get(job.pod ?? '')} sent={props.view.sent.get(`cancel ${job.id}`)} />
        )}
      />
    </Frame>
  );
}

function jobWords(t: ITranslate, { state, ended, seconds }: IJob): string {
  if (ended !== null && seconds === null) {
    return t.__('not seen to end');
  }
  const words: Record<string, string> = {
    running: t.__('running'),
    ok: t.__('done'),
    error: t.__('error'),
    interrupted: t.__('interrupted'),
    died: t.__('died'),
    exited: t.__('exited'),
    lost: t.__('lost'),
    preempted: t.__('preempted'),
    'not sent': t.__('not sent'),
    'left running': t.__('left running'),
    unknown: t.__('not followed')
  };
  return words[state] ?? state;
}

function Job(props: { job: IJob; active: boolean; gpu: string | undefined; sent: 'sent' | 'waiting' | undefined }) {
  const house = useHouse();
  const { t, store } = house;
  const { job, sent } = props;
  const reach = props.active ? 0 : -1;
  const cancel = () => void store.act(`cancel ${job.id}`, 'actions/cancel', { job: job.id });
  return (
    <div class="gp-job">
      <div class="gp-row">
        <strong class="gp-grow gp-cut" title={job.path ?? job.notebook ?? undefined}>
          {job.path ?? job.notebook ?? t.__('no notebook')}
        </strong>
        <span class={`gp-badge gp-is-${job.state}`}>{jobWords(t, job)}</span>
        {job.may.cancel && (
          <button type="button" tabIndex={reach} disabled={sent !== undefined} onClick={cancel}>
            {sent === 'waiting' ? t.__('not heard: interrupt the kernel') : t.__('Cancel')}
          </button>
        )}
        {job.may.attach && (
          <button type="button" tabIndex={reach} onClick={() => void attach(house, job, job.may.attach?.command ?? '')}>
            {t.__('Attach')}
          </button>
        )}
      </div>
      <small class="gp-cut">
        {props.gpu ? `${props.gpu} · ` : ''}
        <Took job={job} /> · {dollars(micros(job.cost_usd), 4)} · <Ago at={job.started} />
      </small>
      {job.progress && <Progress progress={job.progress} followed={job.state === 'running'} />}
    </div>
  );
}

/** What it does, as its kernel has noted it: a bar where the share is known, and its last line. */
function Progress(props: { progress: IProgress; followed: boolean }) {
  const { t } = useHouse();
  const { progress, followed } = props;
  const { done_bytes: done, total_bytes: total, percent } = progress;
  const share = done !== null && total ? done / total : percent === null ? null : percent / 100;
  const words = [phaseWords(t, progress), share === null ? '' : `${Math.floor(share * 100)} %`, progress.line ?? ''].filter(Boolean).join(' · ');
  return (
    <div class="gp-progress">
      {share !== null && <Meter share={share} label={t.__('how far the cell is')} words={words} />}
      <small class="gp-cut" title={words}>
        {!followed && (
          <>
            {t.__('last seen')} <Ago at={progress.at} />:{' '}
          </>
        )}
        {words}
      </small>
    </div>
  );
}

function phaseWords(t: ITranslate, progress: IProgress): string {
  const { phase, done_bytes: done, total_bytes: total } = progress;
  const size = (bytes: number) => (bytes / MB).toFixed(1);
  const bytes = done !== null && total !== null ? t.__('%1 of %2 MB', size(done), size(total)) : '';
  const words: Record<string, string> = {
    ship: t.__('sending %1', bytes),
    wait: t.__('waits for its turn'),
    run: '',
    home: t.__('bringing home %1', bytes)
  };
  return (words[phase] ?? phase).trim();
}

/** Say how to get back to a cell that nobody follows, and open its notebook where that can be done from here. */
async function attach(house: IHouse, job: IJob, command: string): Promise<void> {
  const { t, store } = house;
  const open = store.transport.openNotebook;
  const done = await copied(command);
  const path = job.path;
  house.ask({
    title: t.__('Attach to the cell'),
    lines: [
      t.__('No kernel follows this cell any more: it may run on, or have ended. Its output and its files wait on the instance.'),
      done ? t.__('Copied: run this in a cell of %1.', path ?? job.notebook) : t.__('Run this in a cell of %1.', path ?? job.notebook)
    ],
    command,
    ...(open && path ? { verb: t.__('Open the notebook'), run: () => open(path) } : {})
  });
}

function Took(props: { job: IJob }) {
  const now = useNow();
  const { seconds, started, ended } = props.job;
  const begun = moment(started);
  const took = seconds ?? (ended === null && begun !== null ? (now - begun) / 1000 : null);
  return <span>{took === null ? '–' : duration(took)}</span>;
}
