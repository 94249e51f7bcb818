package conntrack_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/conntrack"
)

const (
	entryOfEvent = "tcp      6 120 SYN_SENT src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=80 [UNREPLIED] src=10.9.0.2 dst=10.9.0.1 sport=8080 dport=7000"
	stamp        = "[1764201600.000123]\t"
)

// What conntrack -E -o timestamp prints is read, and entries that were listed before it; what is none is refused with its line.
func TestEachEvent(t *testing.T) {
	t.Parallel()
	var got []nat.Event
	var at []time.Time
	text := "conntrack v1.4.6 (conntrack-tools): 1 flow entries have been shown.\n" + entryOfEvent + " mark=0 use=1\n\n" +
		stamp + "    [NEW] " + entryOfEvent + "\n" + stamp + " [UPDATE] tcp      6 60 SYN_RECV " + entryOfEvent[strings.Index(entryOfEvent, "src="):] + "\n" +
		stamp + "[DESTROY] tcp      6 " + entryOfEvent[strings.Index(entryOfEvent, "src="):] + "\n"
	require.NoError(t, conntrack.EachEvent(strings.NewReader(text), func(when time.Time, e nat.Event) error {
		got, at = append(got, e), append(at, when)
		return nil
	}))
	require.Len(t, got, 4)
	for i, kind := range []nat.EventKind{0, nat.New, nat.Updated, nat.Destroyed} {
		require.Equal(t, kind, got[i].Kind)
		require.Equal(t, "tcp 10.0.0.1:40000 > 10.0.0.2:80", got[i].Original.String())
		require.Equal(t, "tcp 10.9.0.2:8080 > 10.9.0.1:7000", got[i].Reply.String())
		require.True(t, got[i].Has(nat.SrcNAT|nat.DstNAT))
	}
	require.True(t, at[0].IsZero())
	require.Equal(t, time.Unix(1764201600, 123000).UTC(), at[1])

	for text, wrong := range map[string]string{
		"\n    [NEW] " + entryOfEvent + "\n":       "line 2: want the time in front of an event",
		stamp + "[GONE] " + entryOfEvent + "\n":    `line 1: event "GONE": want NEW, UPDATE or DESTROY`,
		"[17642.1]\t[NEW] " + entryOfEvent + "\n":  `line 1: "17642.1": want seconds and six digits behind a dot`,
		stamp + "[NEW] tcp 6\n":                    "line 1: want an entry",
		stamp + "\n":                               "line 1: want an entry",
		stamp + "[NEW] tcp 6 src=10.0.0.1 dst=x\n": "line 1: dst=x:",
	} {
		err := conntrack.EachEvent(strings.NewReader(text), func(time.Time, nat.Event) error { return nil })
		require.ErrorContains(t, err, wrong, text)
	}
}

func FuzzEachEvent(f *testing.F) {
	f.Add(stamp + "    [NEW] " + entryOfEvent)
	f.Add(entryOfEvent + " mark=0 use=1")
	f.Fuzz(func(t *testing.T, text string) {
		_ = conntrack.EachEvent(strings.NewReader(text), func(at time.Time, e nat.Event) error {
			if !e.Original.IsValid() || !e.Reply.IsValid() || e.Kind != 0 && at.IsZero() {
				t.Errorf("%q: %v at %v", text, e, at)
			}
			return nil
		})
	})
}
