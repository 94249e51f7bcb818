package lab

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
)

// The rules that a lab was made with were registered before any others, and run after them.
func TestInKernelOrder(t *testing.T) {
	t.Parallel()
	const legacy, nft = dataplane.Legacy, dataplane.NFT
	for _, row := range []struct {
		own        dataplane.Backend
		held, want []dataplane.Backend
	}{
		{legacy, []dataplane.Backend{legacy}, []dataplane.Backend{legacy}},
		{nft, []dataplane.Backend{legacy}, []dataplane.Backend{legacy}},
		{legacy, []dataplane.Backend{nft, legacy}, []dataplane.Backend{nft, legacy}},
		{nft, []dataplane.Backend{nft, legacy}, []dataplane.Backend{legacy, nft}},
		{nft, nil, nil},
	} {
		var held []dataplane.Installed
		for _, b := range row.held {
			held = append(held, dataplane.Installed{Backend: b})
		}
		var got []dataplane.Backend
		for _, in := range inKernelOrder(held, row.own) {
			got = append(got, in.Backend)
		}
		require.Equal(t, row.want, got, "%s holding %v", row.own, row.held)
	}
}
