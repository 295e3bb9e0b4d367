// Search from disk: a page opened as a file may not start a worker, so that a hidden frame runs the worker's script.
"use strict";
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.documentElement.appendChild(frame);
      const inside = frame.contentWindow;
      const page = frame.contentDocument;
      this.waiting = [];
      inside.postMessage = (data) => this.answer(data); // what the worker says
      inside.importScripts = (...urls) =>
        urls.reduce(
          (before, each) => before.then(() => this.load(page, new URL(each, url))),
          Promise.resolve(),
        );
      this.inside = inside;
      this.load(page, url).then(() => {
        this.ready = true;
        this.waiting.splice(0).forEach((data) => this.postMessage(data));
      });
    }
    load(page, url) {
      return new Promise((done, failed) => {
        const script = page.createElement("script");
        script.src = String(url);
        script.onload = done;
        script.onerror = failed;
        page.documentElement.appendChild(script);
      });
    }
    answer(data) {
      const event = new MessageEvent("message", { data });
      this.dispatchEvent(event);
      if (this.onmessage) this.onmessage(event);
    }
    postMessage(data) {
      if (!this.ready) return this.waiting.push(data);
      const event = new this.inside.MessageEvent("message", { data });
      this.inside.dispatchEvent(event);
    }
    terminate() {}
  };
}
