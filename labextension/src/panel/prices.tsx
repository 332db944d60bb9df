import { memo } from 'preact/compat';
import { useEffect, useMemo, useState } from 'preact/hooks';
import { Frame } from './frame';
import { IOffer, IPlatform, IPrices, IQuote, ISeries } from './contract';
import { Ago, IHouse, useHouse } from './house';
import { chosen, IFilter, IRow, ITask, MOST_GB, MOST_HOURS, NO_FILTER, Order, rows, task, total, typedNumber, typedPrice } from './offers';
import { gpus, ITranslate, moment } from './text';
import { List } from './list';
import { dollars, micros, rate } from './money';
import { IView } from './store';
import { Spark } from './chart';

const HEIGHT = 76;
const SIZES = [0, 12, 16, 24, 40, 48, 80, 96, 141];

function remembered(text: string | null): IFilter {
  try {
    return { ...NO_FILTER, ...(JSON.parse(text ?? '{}') as Partial<IFilter>) };
  } catch {
    return NO_FILTER;
  }
}

/** Everything that can be rented now, and how to rent it. */
export function Prices(props: { view: IView; prices: IPrices | null; platforms: readonly IPlatform[] | null }) {
  const house = useHouse();
  const { t, memory } = house;
  const { prices, view } = props;
  const [filter, set] = useState<IFilter>(() => remembered(memory.get('filter')));
  const items = prices?.items ?? null;
  const all = useMemo(() => rows(items ?? []), [items]);
  const found = useMemo(() => chosen(all, filter), [all, filter]);
  const wanted = useMemo(() => task(filter), [filter]);
  useEffect(() => memory.set('filter', JSON.stringify(filter)), [filter]);
  const change = (some: Partial<IFilter>) => set(old => ({ ...old, ...some }));
  const rent = (offer: IOffer) => void askToRent(house, offer);
  const empty = <p>{t.__('No platform has anything to rent now.')}</p>;
  return (
    <>
      <Filters filter={filter} change={change} platforms={props.platforms ?? []} />
      <Frame name="prices" frame={prices} count={items ? all.length : null} empty={empty}>
        <p class="gp-count" role="status">
          {found.length === all.length
            ? t._n('%1 offer', '%1 offers', all.length)
            : t._n('%2 of %1 offer', '%2 of %1 offers', all.length, found.length)}
          {' · '}
          <Ago at={prices?.at ?? null} />
          {prices && prices.total > all.length ? ` · ${t.__('%1 in all', prices.total)}` : ''}
          {prices && prices.dropped > 0 ? ` · ${t.__('%1 made no sense', prices.dropped)}` : ''}
        </p>
        {prices?.troubles.map(each => <p class="gp-note">{each}</p>)}
        {found.length === 0 ? (
          <div class="gp-empty">
            <p>{t.__('No offer meets all of this.')}</p>
            <button type="button" onClick={() => set(NO_FILTER)}>
              {t.__('Clear the filters')}
            </button>
          </div>
        ) : (
          <List
            key={JSON.stringify(filter)}
            rows={found}
            height={HEIGHT}
            label={t.__('Offers')}
            keyOf={row => row.offer.id}
            onEnter={row => rent(row.offer)}
            draw={(row, active) => (
              <Offer
                row={row}
                wanted={wanted}
                active={active}
                series={prices?.series[row.offer.series]}
                busy={view.sent.get(`rent ${row.offer.id}`)}
                rent={rent}
                t={t}
              />
            )}
          />
        )}
      </Frame>
    </>
  );
}

async function askToRent(house: IHouse, offer: IOffer): Promise<void> {
  const { store, t } = house;
  if (store.transport.kind === 'server' && store.transport.notebook() === null) {
    house.ask({
      title: t.__('Which notebook is it for?'),
      lines: [t.__('A machine belongs to the notebook whose cells run on it. Open that notebook, then rent.')]
    });
    return;
  }
  const quote = await store.quote(offer);
  if (!quote) {
    return;
  }
  house.ask({
    title: t.__('Rent %1', gpus(offer.gpu, offer.gpu_count)),
    lines: lines(t, quote),
    warning: quote.suspicious,
    until: moment(quote.until),
    verb: t.__('Rent at %1/h', rate(micros(quote.usd_per_hour))),
    run: () => {
      house.show('pods');
      void store.act(`rent ${offer.id}`, 'actions/rent', { quote: quote.quote });
    }
  });
}

function lines(t: ITranslate, quote: IQuote): string[] {
  const told = quote.simulated ? [t.__('Make-believe market: no real money.')] : [];
  return [quote.text, ...(quote.budget_text ? [quote.budget_text] : []), ...told];
}

interface IOfferProps {
  row: IRow;
  wanted: ITask;
  active: boolean;
  series: ISeries | undefined;
  busy: 'sent' | 'waiting' | undefined;
  rent(offer: IOffer): void;
  t: ITranslate;
}

const Offer = memo(function Offer(props: IOfferProps) {
  const { t, row, wanted, busy } = props;
  const { offer } = row;
  const model = gpus(offer.gpu, offer.gpu_count);
  const price = rate(row.price);
  const clouds: Record<string, string> = { secure: t.__('secure'), community: t.__('community') };
  const who = [offer.platform, offer.cloud ? (clouds[offer.cloud] ?? offer.cloud) : '', offer.spot ? t.__('spot') : ''];
  const how = [
    wanted.stated ? t.__('%1 for %2 h, %3 GB', dollars(total(row, wanted)), wanted.hours, wanted.data) : '',
    offer.region,
    offer.reliability === null ? '' : `${(offer.reliability * 100).toFixed(1)} %`,
    offer.down_mbps === null ? '' : net(offer.down_mbps)
  ];
  const facts = (words: string[]) => words.filter(Boolean).join(' · ');
  return (
    <div class={`gp-offer${offer.suspicious ? ' gp-suspect' : ''}`}>
      <div class="gp-grow">
        <strong class="gp-cut">
          {model}
          {offer.vram_gb !== null && <small> {offer.vram_gb} GB</small>}
        </strong>
        <small class="gp-cut">{offer.suspicious ? `⚠ ${offer.suspicious}` : facts(who)}</small>
        <small class="gp-cut" title={facts(how)}>
          {facts(how)}
        </small>
      </div>
      <div class="gp-deal">
        <span class="gp-price">{price}/h</span>
        <Spark series={props.series} />
        <button
          type="button"
          tabIndex={props.active ? 0 : -1}
          disabled={busy !== undefined}
          aria-label={t.__('Rent %1 on %2 at %3 an hour', model, offer.platform, price)}
          onClick={() => props.rent(offer)}
        >
          {busy ? t.__('Asking…') : t.__('Rent')}
        </button>
      </div>
    </div>
  );
});

const net = (mbps: number) => (mbps >= 1000 ? `${(mbps / 1000).toFixed(1)} Gbit/s` : `${Math.round(mbps)} Mbit/s`);

function Filters(props: { filter: IFilter; change(some: Partial<IFilter>): void; platforms: readonly IPlatform[] }) {
  const { t } = useHouse();
  const { filter, change } = props;
  const badPrice = filter.price !== '' && typedPrice(filter.price) === null;
  return (
    <form class="gp-filters" role="search" aria-label={t.__('Filter offers')} onSubmit={event => event.preventDefault()}>
      <label class="gp-wide">
        {t.__('GPU')}
        <input
          type="search"
          value={filter.gpu}
          placeholder={t.__('any, such as RTX 4090')}
          spellcheck={false}
          onInput={event => change({ gpu: event.currentTarget.value })}
        />
      </label>
      <label>
        {t.__('Up to $/h')}
        <input
          inputMode="decimal"
          value={filter.price}
          placeholder={t.__('any')}
          aria-invalid={badPrice}
          title={badPrice ? t.__('%1 is no price: all are shown', filter.price) : undefined}
          onInput={event => change({ price: event.currentTarget.value })}
        />
      </label>
      <Choice
        label={t.__('Order')}
        value={filter.sort}
        choices={[
          ['price', t.__('cheapest')],
          ['reliability', t.__('most reliable')],
          ['net', t.__('fastest net')],
          ['vram', t.__('most memory')]
        ]}
        choose={value => change({ sort: value as Order })}
      />
      <details class="gp-wide">
        <summary>{t.__('More filters')}</summary>
        <div class="gp-filters">
          <Choice
            label={t.__('Memory')}
            value={String(filter.vram)}
            choices={SIZES.map(size => [String(size), size ? `≥ ${size} GB` : t.__('any')])}
            choose={value => change({ vram: Number(value) })}
          />
          <Choice
            label={t.__('Cloud')}
            value={filter.cloud}
            choices={[
              ['', t.__('any')],
              ['secure', t.__('secure')],
              ['community', t.__('community')]
            ]}
            choose={cloud => change({ cloud })}
          />
          <Choice
            label={t.__('Platform')}
            value={filter.platform}
            choices={[['', t.__('any')], ...props.platforms.map((each): [string, string] => [each.platform, each.platform])]}
            choose={platform => change({ platform })}
          />
          <Amount
            label={t.__('Hours')}
            value={filter.hours}
            most={MOST_HOURS}
            placeholder="1"
            change={hours => change({ hours })}
          />
          <Amount
            label={t.__('Data sent, GB')}
            value={filter.data}
            most={MOST_GB}
            placeholder="0"
            change={data => change({ data })}
          />
          <label>
            {t.__('Region')}
            <input type="search" value={filter.region} onInput={event => change({ region: event.currentTarget.value })} />
          </label>
          <label class="gp-check gp-wide">
            <input type="checkbox" checked={filter.spot} onChange={event => change({ spot: event.currentTarget.checked })} />
            {t.__('spot only')}
          </label>
        </div>
      </details>
    </form>
  );
}

function Amount(props: { label: string; value: string; most: number; placeholder: string; change(value: string): void }) {
  const { t } = useHouse();
  const bad = props.value !== '' && typedNumber(props.value, props.most) === null;
  return (
    <label>
      {props.label}
      <input
        inputMode="decimal"
        value={props.value}
        placeholder={props.placeholder}
        aria-invalid={bad}
        title={bad ? t.__('%1 is no number up to %2', props.value, props.most) : undefined}
        onInput={event => props.change(event.currentTarget.value)}
      />
    </label>
  );
}

function Choice(props: { label: string; value: string; choices: [string, string][]; choose(value: string): void }) {
  return (
    <label>
      {props.label}
      <select value={props.value} onChange={event => props.choose(event.currentTarget.value)}>
        {props.choices.map(([value, words]) => (
          <option value={value}>{words}</option>
        ))}
      </select>
    </label>
  );
}
