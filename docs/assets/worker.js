// A page that was opened from disk may not start a worker. This one runs the worker's script in a hidden frame, so that the
// search works there too.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const script = new URL(url, document.baseURI).href;
      this.frame = Object.assign(document.createElement("iframe"), { hidden: true, srcdoc: "<!doctype html><body></body>" });
      this.ready = new Promise((resolve, reject) => {
        this.frame.onload = () => {
          const inside = this.frame.contentWindow;
          inside.postMessage = (data) => this.tell(data);
          const tag = Object.assign(inside.document.createElement("script"), { src: script, onload: () => resolve(inside), onerror: reject });
          inside.document.body.append(tag);
        };
      });
      document.body.append(this.frame);
    }
    tell(data) {
      const event = new MessageEvent("message", { data });
      this.onmessage?.(event);
      this.dispatchEvent(event);
    }
    postMessage(data) {
      this.ready.then((inside) => inside.dispatchEvent(new inside.MessageEvent("message", { data })));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
