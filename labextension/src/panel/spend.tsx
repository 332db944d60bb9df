import { Days, Meter } from './chart';
import { dollars, micros, rate, running } from './money';
import { Ago, useHouse, useNow } from './house';
import { Frame } from './frame';
import { IFigures, ISpend } from './contract';
import { ITranslate, moment } from './text';

/** Today's spend with what has been added since it was read. */
function today(figures: IFigures, now: number): number | null {
  const at = moment(figures.at);
  return running(micros(figures.today_usd), micros(figures.usd_per_hour), at === null ? 0 : now - at);
}

interface IPurse {
  figures: IFigures;
  simulated: boolean;
}

/** Real money first; make-believe money beside it, and alone where there is no other. The two are never added. */
function purses(spend: ISpend | null): IPurse[] {
  const { real = null, simulated = null } = spend?.figures ?? {};
  const idle = !real || (!micros(real.usd_per_hour) && !micros(real.month_usd) && !real.pods);
  const shown: IPurse[] = [];
  if (real && !(idle && simulated)) {
    shown.push({ figures: real, simulated: false });
  }
  if (simulated) {
    shown.push({ figures: simulated, simulated: true });
  }
  return shown;
}

/** `$0.31/h - 1 pod`, for the status bar. */
export function inShort(t: ITranslate, spend: ISpend | null): { text: string; billing: boolean } | null {
  const first = purses(spend)[0];
  if (!first) {
    return null;
  }
  const pods = first.figures.pods ?? 0;
  const text = `${rate(micros(first.figures.usd_per_hour))}/h · ${t._n('%1 pod', '%1 pods', pods)}`;
  return { text, billing: pods > 0 || (micros(first.figures.usd_per_hour) ?? 0) > 0 };
}

/** What is spent now, at the top of the panel. */
export function Head(props: { spend: ISpend | null }) {
  const shown = purses(props.spend);
  return (
    <div class="gp-head-figures">
      {shown.length ? shown.map(each => <Now purse={each} />) : <span class="gp-big">–/h</span>}
    </div>
  );
}

function Now(props: { purse: IPurse }) {
  const { t } = useHouse();
  const now = useNow();
  const { figures, simulated } = props.purse;
  const spent = today(figures, now);
  const budget = micros(figures.budget_day_usd);
  return (
    <div data-purse={simulated ? 'simulated' : 'real'}>
      <div class="gp-row">
        <span class="gp-big">{rate(micros(figures.usd_per_hour))}/h</span>
        {simulated && <span class="gp-badge">{t.__('make-believe')}</span>}
      </div>
      <div class="gp-today" data-today={spent ?? ''}>
        {budget === null ? t.__('%1 today', dollars(spent, 4)) : t.__('%1 today of %2', dollars(spent), dollars(budget))}
      </div>
      {budget !== null && spent !== null && <Budget spent={spent} budget={budget} label={t.__("today's budget")} />}
    </div>
  );
}

function Budget(props: { spent: number; budget: number; label: string }) {
  const { spent, budget, label } = props;
  const share = budget > 0 ? spent / budget : 1;
  return <Meter share={share} label={label} words={`${dollars(spent)} / ${dollars(budget)}`} alarm={share > 0.9} />;
}

/** Where the money went. */
export function Spend(props: { part: ISpend | null }) {
  const { t } = useHouse();
  const shown = purses(props.part);
  const known = props.part?.figures ? shown.length : null;
  return (
    <Frame name="spend" frame={props.part} count={known} empty={<p>{t.__('Nothing has been spent.')}</p>}>
      <div class="gp-scroll" tabIndex={0} role="group" aria-label={t.__('Spend')}>
        {shown.map(each => (
          <Purse purse={each} />
        ))}
      </div>
    </Frame>
  );
}

function Purse(props: { purse: IPurse }) {
  const { t } = useHouse();
  const now = useNow();
  const { figures, simulated } = props.purse;
  const [month, most] = [micros(figures.month_usd), micros(figures.budget_month_usd)];
  const lines: [string, string][] = [
    [t.__('Now'), `${rate(micros(figures.usd_per_hour))}/h`],
    [t.__('Today'), dollars(today(figures, now), 4)],
    [t.__('This month'), most === null ? dollars(month, 4) : t.__('%1 of %2', dollars(month), dollars(most))]
  ];
  return (
    <section aria-label={simulated ? t.__('make-believe money') : t.__('real money')}>
      <h3>{simulated ? t.__('Make-believe money') : t.__('Real money')}</h3>
      <Amounts rows={lines} />
      {most !== null && month !== null && <Budget spent={month} budget={most} label={t.__("this month's budget")} />}
      <p>
        <small>
          {t.__('What follows was true')} <Ago at={figures.at} />
        </small>
      </p>
      {figures.by_day && figures.by_day.length > 0 && (
        <>
          <h4>{t.__('By day')}</h4>
          <Days days={figures.by_day} />
        </>
      )}
      <Shares title={t.__('By GPU')} rows={(figures.by_gpu ?? []).map(each => [each.gpu, each.usd])} />
      <Shares title={t.__('By notebook')} rows={(figures.by_notebook ?? []).map(each => [each.notebook, each.usd])} />
    </section>
  );
}

function Shares(props: { title: string; rows: [string, string][] }) {
  if (!props.rows.length) {
    return null;
  }
  return (
    <>
      <h4>{props.title}</h4>
      <Amounts rows={props.rows.map(([name, usd]) => [name || '–', dollars(micros(usd), 4)])} />
    </>
  );
}

function Amounts(props: { rows: [string, string][] }) {
  return (
    <dl class="gp-amounts">
      {props.rows.map(([name, amount]) => (
        <div>
          <dt class="gp-cut">{name}</dt>
          <dd>{amount}</dd>
        </div>
      ))}
    </dl>
  );
}
