// A judge that shares no code with Verity: golang.org/x/mod/sumdb, the Go checksum database's own packages.
//
// It reads {"cases": [{"kind": …, …}]} on stdin and prints one verdict for each: "" when Go accepts, else why not.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// A question carries what its kind needs; bytes are base64.
type question struct {
	Kind    string            `json:"kind"`
	Key     string            `json:"key"`
	Note    string            `json:"note"`
	Text    string            `json:"text"`
	Size    int64             `json:"size"`
	Root    []byte            `json:"root"`
	OldSize int64             `json:"old_size"`
	OldRoot []byte            `json:"old_root"`
	Index   int64             `json:"index"`
	Entry   []byte            `json:"entry"`
	Proof   [][]byte          `json:"proof"`
	Tiles   map[string][]byte `json:"tiles"`
	Path    string            `json:"path"`
	Level   int               `json:"level"`
	Number  int64             `json:"number"`
	Width   int               `json:"width"`
}

func hash(data []byte) (h tlog.Hash, err error) {
	if len(data) != tlog.HashSize {
		return h, fmt.Errorf("%d bytes are no hash", len(data))
	}
	copy(h[:], data)
	return h, nil
}

func hashes(data [][]byte) ([]tlog.Hash, error) {
	var all []tlog.Hash
	for _, each := range data {
		h, err := hash(each)
		if err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, nil
}

// files serves a log's tiles by their C2SP paths, which lack the height that Go's have.
type files map[string][]byte

func (f files) Height() int                     { return height }
func (f files) SaveTiles([]tlog.Tile, [][]byte) {}
func (f files) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, ok := f[c2sp(tile)]
		if !ok {
			return nil, fmt.Errorf("no %s", c2sp(tile))
		}
		all = append(all, data)
	}
	return all, nil
}

func c2sp(tile tlog.Tile) string {
	return strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
}

func judge(q question) error {
	switch q.Kind {
	case "note":
		verifier, err := note.NewVerifier(q.Key)
		if err != nil {
			return err
		}
		opened, err := note.Open([]byte(q.Note), note.VerifierList(verifier))
		if err == nil && opened.Text != q.Text {
			err = fmt.Errorf("the note says %q", opened.Text)
		}
		return err
	case "inclusion":
		root, err := hash(q.Root)
		if err != nil {
			return err
		}
		proof, err := hashes(q.Proof)
		if err != nil {
			return err
		}
		return tlog.CheckRecord(proof, q.Size, root, q.Index, tlog.RecordHash(q.Entry))
	case "consistency":
		roots, err := hashes([][]byte{q.OldRoot, q.Root})
		if err != nil {
			return err
		}
		proof, err := hashes(q.Proof)
		if err != nil {
			return err
		}
		return tlog.CheckTree(proof, q.Size, roots[1], q.OldSize, roots[0])
	case "tiles":
		return readTiles(q)
	case "tile":
		tile := tlog.Tile{H: height, L: q.Level, N: q.Number, W: q.Width}
		for at := 0; at < q.Width; at++ {
			index := tlog.StoredHashIndex(height*q.Level, q.Number*256+int64(at))
			found, err := tlog.HashFromTile(tile, q.Tiles[q.Path], index)
			if err != nil {
				return err
			}
			if !bytes.Equal(found[:], q.Proof[at]) {
				return fmt.Errorf("hash %d is another", at)
			}
		}
		return nil
	case "path":
		tile := tlog.Tile{H: height, L: q.Level, N: q.Number, W: q.Width}
		parsed, err := tlog.ParseTilePath(tile.Path())
		if err == nil && (c2sp(tile) != q.Path || parsed != tile) {
			err = fmt.Errorf("the path is %s", c2sp(tile))
		}
		return err
	}
	return fmt.Errorf("no such kind: %s", q.Kind)
}

// readTiles asks Go's client for an entry's hash, out of tiles that it checks up to the root, and proves it from them.
func readTiles(q question) error {
	root, err := hash(q.Root)
	if err != nil {
		return err
	}
	reader := tlog.TileHashReader(tlog.Tree{N: q.Size, Hash: root}, files(q.Tiles))
	found, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, q.Index)})
	if err != nil {
		return err
	}
	if found[0] != tlog.RecordHash(q.Entry) {
		return fmt.Errorf("leaf %d is of another entry", q.Index)
	}
	proof, err := tlog.ProveRecord(q.Size, q.Index, reader)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(proof, q.Size, root, q.Index, found[0])
}

func main() {
	var asked struct {
		Cases []question `json:"cases"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	verdicts := []string{}
	for _, q := range asked.Cases {
		verdict := ""
		if err := judge(q); err != nil {
			verdict = err.Error()
		}
		verdicts = append(verdicts, verdict)
	}
	if err := json.NewEncoder(os.Stdout).Encode(verdicts); err != nil {
		os.Exit(2)
	}
}
