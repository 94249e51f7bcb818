package userspace

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"natlab/nat"
	"natlab/nat/conntrack"
)

// wholeLine ends a file of connections that was written at the end, when no packet passed any more.
const wholeLine = "# written at the end\n"

// saved is how often connections are written to Options.State: that often, or so much less often that writing takes a twentieth of the time.
const saved = time.Second

// restore takes over the connections of Options.State, if there are any.
func (g *Gateway) restore() error {
	if g.options.State == "" {
		return nil
	}
	b, err := os.ReadFile(g.options.State)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("connections: %w", err)
	}
	now := time.Now()
	all, err := conntrack.ReadSaved(string(b), now)
	if err != nil {
		return fmt.Errorf("connections: %s: %w; delete the file to begin without any", g.options.State, err)
	}
	whole := strings.HasSuffix(string(b), wholeLine)
	var by [2][]conntrack.Conn
	for _, c := range all {
		if !whole {
			c.ForgetWindow()
		}
		f := nat.IPv4
		if c.Original.Src().Addr().Is6() {
			f = nat.IPv6
		}
		by[f] = append(by[f], c)
	}
	for f, one := range g.families {
		if one != nil {
			g.restored += one.Remember(by[f], now)
		}
	}
	return nil
}

// Restored is how many connections were taken over from Options.State.
func (g *Gateway) Restored() int { return g.restored }

// Save writes the connections to Options.State: a file beside it takes its place, so that it is always whole.
func (g *Gateway) Save() error { return g.save("") }

func (g *Gateway) save(end string) error {
	g.saving.Lock()
	defer g.saving.Unlock()
	var all []conntrack.Conn
	g.mu.Lock()
	g.readBack()
	for f := range g.families {
		for _, c := range g.conns(nat.Family(f)) {
			all = append(all, *c)
		}
	}
	g.mu.Unlock()
	now := time.Now()
	var b bytes.Buffer
	b.WriteString("# the connections of natlab gateway, as conntrack -L prints them, and what it leaves out\n")
	for i := range all {
		b.WriteString(all[i].Saved(now) + "\n")
	}
	b.WriteString(end)
	if err := replaceFile(g.options.State, b.Bytes()); err != nil {
		return fmt.Errorf("connections: %w", err)
	}
	return nil
}

// replaceFile writes a file in one step.
func replaceFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// keep writes the connections until the end.
func (g *Gateway) keep() {
	g.every(saved, func() {
		if err := g.Save(); err != nil && g.options.Note != nil {
			g.options.Note(err.Error())
		}
	})
}

// every does something once in a period until the end, or so much less often that it takes a twentieth of the time.
func (g *Gateway) every(period time.Duration, do func()) {
	wait := time.NewTimer(period)
	defer wait.Stop()
	for {
		select {
		case <-g.stopping:
			return
		case <-wait.C:
		}
		begin := time.Now()
		do()
		wait.Reset(max(period, 20*time.Since(begin)))
	}
}
