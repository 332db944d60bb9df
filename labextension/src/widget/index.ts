import { IModel, Kernel } from './kernel';
import { mount } from '../panel/panel';
import { plain } from '../panel/text';
import { Store } from '../panel/store';

// What a person has chosen outlives a drawing: the page draws anew when the kernel writes the text that is saved with it.
const chosen = new Map<string, string>();

/** anywidget's entry: draw the panel of this notebook's kernel; the answer takes it away. */
function render({ model, el }: { model: IModel; el: HTMLElement }): () => void {
  const memory = { get: (key: string) => chosen.get(key) ?? null, set: (key: string, value: string) => void chosen.set(key, value) };
  const store = new Store(new Kernel(model, el));
  const unmount = mount(el, { store, t: plain, memory, shape: 'widget' });
  return () => {
    unmount();
    store.dispose();
  };
}

export default { render };
