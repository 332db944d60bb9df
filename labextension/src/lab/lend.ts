import { BORROW, IBorrow } from '../panel/borrow';
import { CANCEL } from '../panel/cancel';
import { Follower } from './follow';

/** Let panels inside notebooks send their actions by the server, which answers also while their kernel is busy or dead. */
export function lend(follower: Follower): () => void {
  const take = (event: globalThis.Event) => {
    const wish = (event as CustomEvent<IBorrow>).detail;
    // A kernel knows its notebook, the server must be told.
    const body = wish.route === 'quote' ? { ...wish.body, notebook: follower.notebook() } : wish.body;
    wish.take(wish.route === CANCEL ? follower.cancel(body, wish.job) : follower.ask(wish.route, body));
  };
  document.addEventListener(BORROW, take);
  return () => document.removeEventListener(BORROW, take);
}
