package ipset

import (
	"maps"
	"time"
)

// State is a node's sets while packets come to them.
type State struct {
	sets  Sets
	since time.Time // when the sets were as they were read
	own   bool      // each change stays, and counters count
	mine  map[string]bool
	// changed is how often a set was changed of which nothing is known.
	changed map[string]int
}

// NewState are sets that are as they were read at a moment. What packets do to them stays, and leaves the Sets as they are.
func NewState(sets Sets, at time.Time) *State {
	return &State{sets: maps.Clone(sets), since: at, own: true, mine: map[string]bool{}, changed: map[string]int{}}
}

// Still are sets of which every change makes another State. Their counters do not count: what they are compared with is not
// known.
func Still(sets Sets, at time.Time) *State {
	return &State{sets: sets, since: at}
}

// writable is a set that can be changed in place.
func (s *State) writable(name string) *Set {
	if !s.mine[name] {
		s.sets[name], s.mine[name] = s.sets[name].over(), true
	}
	return s.sets[name]
}
