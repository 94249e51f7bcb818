package nat_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

// The kernel before a change, the one that brought it, and longterm ones that took it.
func TestKernelHas(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		change nat.Change
		has    []nat.Kernel
		lacks  []nat.Kernel
	}{
		{nat.LowestIsUnicast, []nat.Kernel{{5, 14}, {6, 1}}, []nat.Kernel{{5, 10}, {5, 13}}},
		{nat.RSTOfReusedTuple, []nat.Kernel{{5, 14}, {6, 1}}, []nat.Kernel{{5, 10}, {5, 13}}},
		{nat.SYNReinitialises, []nat.Kernel{{5, 18}, {6, 1}}, []nat.Kernel{{5, 10}, {5, 17}}},
		{nat.RejectsUnsummedUDP, []nat.Kernel{{5, 19}, {6, 1}}, []nat.Kernel{{5, 10}, {5, 18}}},
		{nat.WindowLeniency, []nat.Kernel{{6, 1}, {6, 12}}, []nat.Kernel{{5, 10}, {6, 0}}},
		{nat.ChallengeACK, []nat.Kernel{{6, 1}, {6, 2}}, []nat.Kernel{{5, 10}, {6, 0}}},
		{nat.ResetCloses, []nat.Kernel{{6, 1}, {6, 3}}, []nat.Kernel{{5, 10}, {6, 2}}},
		{nat.GREClash, []nat.Kernel{{6, 5}, {6, 12}}, []nat.Kernel{{5, 10}, {6, 1}, {6, 4}}},
		{nat.WholeDCCPHeader, []nat.Kernel{{5, 10}, {6, 1}, {6, 5}}, []nat.Kernel{{5, 14}, {6, 4}}},
		{nat.EvictClosing, []nat.Kernel{{6, 5}}, []nat.Kernel{{6, 1}, {6, 4}}},
		{nat.TextEndsAtTo, []nat.Kernel{{6, 7}, {6, 12}}, []nat.Kernel{{6, 1}, {6, 6}}},
		{nat.ScaleOfReply, []nat.Kernel{{6, 1}, {6, 6}, {6, 8}}, []nat.Kernel{{5, 10}, {6, 5}, {6, 7}}},
		{nat.FirstPortOfDNAT, []nat.Kernel{{6, 8}, {6, 12}}, []nat.Kernel{{6, 1}, {6, 7}}},
		{nat.ShortDCCPIsInvalid, []nat.Kernel{{6, 10}, {6, 12}}, []nat.Kernel{{6, 1}, {6, 9}}},
		{nat.ReverseClash, []nat.Kernel{{6, 11}, {6, 12}}, []nat.Kernel{{6, 1}, {6, 10}}},
		{nat.LoopbackLeadsHome, []nat.Kernel{{6, 12}, {6, 15}, {7, 2}}, []nat.Kernel{{5, 10}, {6, 1}, {6, 14}}},
		{nat.QuotaHoldsLast, []nat.Kernel{{6, 1}, {6, 12}, {6, 16}}, []nat.Kernel{{5, 10}, {6, 11}, {6, 15}}},
		{nat.DCCPForgotten, []nat.Kernel{{6, 17}, {7, 2}}, []nat.Kernel{{6, 12}, {6, 16}}},
		{nat.UDPLiteForgotten, []nat.Kernel{{7, 1}, {7, 2}}, []nat.Kernel{{6, 12}, {7, 0}}},
		{nat.NoErrorToAll, []nat.Kernel{{7, 2}}, []nat.Kernel{{5, 10}, {6, 12}, {6, 18}}},
		{nat.ICMPClash, []nat.Kernel{{7, 0}, {7, 2}}, []nat.Kernel{{6, 12}, {6, 19}}},
	} {
		for _, k := range row.has {
			require.True(t, k.Has(row.change), "%d on %s", row.change, k)
		}
		for _, k := range row.lacks {
			require.False(t, k.Has(row.change), "%d on %s", row.change, k)
		}
		require.True(t, nat.Kernel{}.Has(row.change), "the newest")
	}
}
