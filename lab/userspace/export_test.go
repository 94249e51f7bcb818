package userspace

import "errors"

// Die ends the Gateway as a kill does: nobody serves the queue any more, and the tables are still there.
func (g *Gateway) Die() error {
	g.closing.Store(true)
	close(g.finished)
	err := errors.Join(g.queue.Close(), g.watch.close())
	g.workers.Wait()
	return errors.Join(err, g.sender.close())
}
