package userspace

import "errors"

// Die ends the Gateway as a kill does: nobody serves the queue any more, and the tables are still there.
func (g *Gateway) Die() error {
	g.closing.Store(true)
	close(g.finished)
	close(g.stopping)
	err := g.watch.close()
	for _, q := range g.queues {
		err = errors.Join(err, q.Close())
	}
	g.workers.Wait()
	if g.marks != nil {
		err = errors.Join(err, g.marks.close())
	}
	if g.offload != nil {
		err = errors.Join(err, g.offload.close())
	}
	return errors.Join(err, g.sender.close())
}
