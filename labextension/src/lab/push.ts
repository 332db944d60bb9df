import { IPush } from '../panel/contract';

const SCHEMA = 'https://events.gpuplug.dev/panel/v1';

/**
 * Read an emission of the events bus, whose parts are JSON as text; `null`: it is of somebody else.
 * One that makes no sense counts as a gap, after which the state is asked for.
 */
export function pushOf(emission: object): IPush | null {
  const { schema_id, revision, now, parts, prices_revision } = emission as Record<string, unknown>;
  if (schema_id !== SCHEMA) {
    return null;
  }
  try {
    const read: unknown = JSON.parse(String(parts));
    if (typeof revision === 'number' && typeof now === 'string' && read !== null && typeof read === 'object') {
      return { revision, now, parts: read, prices_revision: Number(prices_revision) };
    }
  } catch {
    // truncated on its way
  }
  return { revision: NaN, now: '', parts: {}, prices_revision: NaN };
}
