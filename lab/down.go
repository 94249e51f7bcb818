package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"natlab/lab/netns"
)

const (
	// patience is how long an owner may take to end its lab before it is killed.
	patience = 20 * time.Second
	// pause is between two looks at a lock that another process holds.
	pause = 2 * time.Millisecond
)

// Down takes the lab away, with every process in it. A second call does nothing.
func (l *Lab) Down(ctx context.Context) error {
	if l.own == nil {
		err := errors.Join(Down(ctx, l.Name()), l.closeHandles())
		if errors.Is(err, ErrNoLab) {
			return nil
		}
		return err
	}
	l.own.once.Do(func() {
		l.release()
		l.own.err = l.own.state.clear(context.WithoutCancel(ctx), l.record.Namespaces)
		close(l.own.gone)
	})
	<-l.own.gone
	return l.own.err
}

// release ends what this process does for the lab. What fails here fails because it is gone already.
func (l *Lab) release() {
	_ = l.own.control.Close()
	_ = l.own.proxies.Close()
	_ = l.own.servers.Close()
	l.closeGateways()
	for _, t := range l.own.tunnels {
		_ = t.Abandon()
	}
	_ = l.closeHandles()
}

// Down takes a lab away, whatever state it is in: up, half made, half taken away, its process killed. When it returns
// without error there is no namespace, process or file of the lab; ErrNoLab means that there was none before.
func Down(ctx context.Context, name string) error {
	s, err := openState(name)
	if err != nil {
		return err
	}
	locked, err := s.takeOver(ctx)
	if err != nil || !locked { // not locked: its owner, or another Down, has just finished the work
		return errors.Join(err, s.dir.Close())
	}
	r, err := s.read()
	if err != nil {
		return errors.Join(err, s.dir.Close())
	}
	return s.clear(ctx, r.Namespaces)
}

// DownAll takes every lab away, and the namespaces that tests left behind which have ended. It goes on after an error.
func DownAll(ctx context.Context) error {
	return downThose(ctx, func(Status) bool { return true })
}

// DownDead takes away what nobody has any more: the labs of programs that ended, natlab's own supervisors aside, and the namespaces
// that tests left behind. What runs stays.
func DownDead(ctx context.Context) error { return downThose(ctx, abandoned) }

// abandoned reports whether a lab is one that nobody can have any more: a program's own, which has ended.
func abandoned(s Status) bool { return s.State == Dead && !s.Supervised }

func downThose(ctx context.Context, which func(Status) bool) error {
	labs, err := List()
	if err != nil {
		return err
	}
	var names []string
	for _, s := range labs {
		if which(s) {
			names = append(names, s.Name)
		}
	}
	left, err := netns.Orphans()
	if err != nil {
		return err
	}
	return takeAway(ctx, names, left)
}

// takeAway takes labs away, and namespaces of no lab with the processes in them.
func takeAway(ctx context.Context, labs, namespaces []string) error {
	var all []error
	for _, name := range labs {
		if err := Down(ctx, name); err != nil && !errors.Is(err, ErrNoLab) {
			all = append(all, err)
		}
	}
	err := endInhabitants(ctx, namespaces)
	for _, name := range namespaces {
		if err == nil {
			err = netns.Delete(name)
		}
	}
	return errors.Join(append(all, err)...)
}

// takeOver ends the lab's owner and takes the lock. It is false where the lab vanished meanwhile: its owner is gone then.
func (s *stateDir) takeOver(ctx context.Context) (bool, error) {
	var asked process
	for until := time.Now().Add(patience); ; {
		free, err := s.flock(unix.LOCK_EX | unix.LOCK_NB)
		if err != nil || free {
			return free && s.stillThere(), err
		}
		// The owner of a lab that is just being born is not written down yet, so look again each time.
		r, err := s.read()
		if err != nil {
			return false, err
		}
		if r.Owner != (process{}) && r.Owner != asked {
			asked = r.Owner
			if err := s.ask(ctx, r); err != nil {
				return false, err
			}
			continue
		}
		if time.Now().After(until) {
			return false, fmt.Errorf("lab %s: process %d holds it and does not let go: end that first", s.lab, r.Owner.PID)
		}
		select {
		case <-ctx.Done():
			return false, fmt.Errorf("lab %s: %w", s.lab, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// ask makes the owner give the lab up: a supervisor by a signal, which ends it; a program that has more to do than this
// lab over its control socket.
func (s *stateDir) ask(ctx context.Context, r record) error {
	if r.Supervised {
		if err := r.Owner.end(ctx, unix.SIGTERM, patience); err != nil {
			return fmt.Errorf("lab %s: %w", s.lab, err)
		}
		return nil
	}
	if !r.Ready {
		return nil // it is being made or taken away, which ends soon
	}
	if _, err := s.call(ctx, request{Do: doDown}); err != nil && s.stillThere() && s.owned() {
		return fmt.Errorf("lab %s belongs to process %d, which has to end it: %w", s.lab, r.Owner.PID, err)
	}
	return nil
}

// clear takes away what the names stand for, and the lab's directory last, so that Down can be called again after an
// error. A directory that is gone means that all is done, and that the names may be another lab's by now.
func (s *stateDir) clear(ctx context.Context, names []string) error {
	if !s.stillThere() {
		return s.dir.Close()
	}
	err := endInhabitants(ctx, names)
	if err == nil {
		var group errgroup.Group
		group.SetLimit(parallel())
		for _, name := range names {
			group.Go(func() error { return netns.Delete(name) })
		}
		err = group.Wait()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("lab %s: %w", s.lab, err), s.dir.Close())
	}
	return s.remove()
}

// endInhabitants kills the processes that are in the namespaces, until there are none: a shell may start one more
// before it dies.
func endInhabitants(ctx context.Context, names []string) error {
	own, err := netns.OfProcess(os.Getpid())
	if err != nil {
		return err
	}
	ids := map[netns.ID]bool{}
	for _, name := range names {
		h, err := netns.Open(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, netns.ErrNotNamespace) {
			continue
		}
		if err != nil {
			return err
		}
		id, err := h.ID()
		if err := errors.Join(err, h.Close()); err != nil {
			return err
		}
		if id != own {
			ids[id] = true
		}
	}
	const rounds = 100
	for range rounds {
		alive, err := inhabitants(ids)
		if err != nil || len(alive) == 0 {
			return err
		}
		for _, p := range alive {
			if err := p.end(ctx, unix.SIGKILL, patience); err != nil {
				return err
			}
		}
	}
	return errors.New("new processes appear in its namespaces faster than they can be ended")
}
