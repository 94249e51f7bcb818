package watch

import (
	"context"
	"errors"
	"sync"
	"time"

	"natlab/lab"
	"natlab/nat"
	"natlab/nat/portuse"
)

// PortOptions are how ports are watched.
type PortOptions struct {
	Timeout time.Duration // end after so long; 0 for no end
	Ready   func()        // called when nothing is missed any more
}

// lookEvery is how often connections are listed that no event may tell the end of.
const lookEvery = time.Second

// ports is a member of a lab whose ports are watched.
type ports struct {
	lab    *lab.Lab
	member string
	end    context.CancelFunc
	begin  time.Time // zero: nothing was watched yet

	mu    sync.Mutex
	rec   portuse.Recorder // under mu
	wrong error            // under mu
}

// Ports watches the connections of a member of a lab until ctx ends, the time is over, or the lab is taken away, and returns what was told from begin on.
// lost counts events that found no room. Where it ended before it was to, what was told until then comes with the error, if begin is not zero.
func Ports(ctx context.Context, l *lab.Lab, member string, o PortOptions) (rec *portuse.Recorder, begin time.Time, lost uint64, err error) {
	attended, stop, err := l.Attend(ctx)
	if err != nil {
		return nil, begin, 0, err
	}
	defer stop()
	watched, end := context.WithCancel(attended)
	defer end()
	p := &ports{lab: l, member: member, end: end}
	var looks sync.WaitGroup
	lost, err = l.Events(watched, member, func() {
		p.start()
		if o.Timeout > 0 {
			timer := time.AfterFunc(o.Timeout, end)
			context.AfterFunc(watched, func() { timer.Stop() })
		}
		looks.Go(func() { p.lookOn(watched) })
		if o.Ready != nil {
			o.Ready()
		}
	}, func(e nat.Event) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.rec.Event(time.Now(), e)
		return nil
	})
	end()
	looks.Wait()
	if ctx.Err() == nil && attended.Err() != nil { // the lab is gone
		return &p.rec, p.begin, lost, context.Cause(attended)
	}
	if !p.begin.IsZero() {
		if all := p.list(); p.wrong == nil {
			p.rec.Last(time.Now(), all) // events may have waited to be read
		}
	}
	return &p.rec, p.begin, lost, errors.Join(err, p.wrong)
}

// start tells of what is there.
func (p *ports) start() {
	p.begin = time.Now()
	all := p.list()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range all {
		p.rec.Have(e)
	}
}

// lookOn looks again and again for what is not there any more.
func (p *ports) lookOn(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.look(time.Now())
		}
	}
}

func (p *ports) look(at time.Time) {
	all := p.list()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wrong == nil {
		p.rec.Only(at, all)
	}
}

// list is all connections of the member; where they cannot be listed it all ends.
func (p *ports) list() []nat.Entry {
	all, err := p.lab.Entries(p.member)
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.wrong == nil {
			p.wrong = err
		}
		p.end()
	}
	return all
}
