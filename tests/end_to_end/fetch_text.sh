#!/usr/bin/env bash
# scripts/fetch_text.py on a text folder of one's own, without a network, and what follows it.
. "$(dirname "$0")/harness.sh"
fetch=("$source_dir/scripts/fetch_text.py" --from)

# fetch CODE ARGUMENTS...
fetch() {
  local expected=$1 code
  shift
  python3 "${fetch[@]}" "$@" >out 2>err
  code=$?
  check "exit code $code is $expected: $*" test "$code" = "$expected"
}

mkdir -p texts/more
for name in texts/one texts/more/two; do
  write_text words.txt ${#name} 600
  { echo "The Project Gutenberg EBook"; echo "*** START OF THIS PROJECT GUTENBERG EBOOK $name ***"
    cat words.txt
    echo "*** END OF THIS PROJECT GUTENBERG EBOOK $name ***"; echo "the licence"; } >$name.txt
done

say "three splits that share no document"
fetch 0 texts --output data/mine
for split in train validation test; do
  check "$split has documents" test -s data/mine/$split.jsonl
done
check "no document twice" test -z "$(cat data/mine/*.jsonl | sort | uniq -d)"
check "Gutenberg's own text is gone" \
  test "$(cat data/mine/*.jsonl | grep -ciE 'gutenberg|licence')" = 0

say "the same texts, the same bytes"
fetch 0 texts --output data/again
check "equal folders" diff -r data/mine data/again

say "moesaic takes them"
run 0 1 data prepare data/mine/train.jsonl --output data/mine/train
run 0 1 data info data/mine/train
prints 'text: '

say "bad input"
fetch 66 no-such-folder
complains 'no such folder'
mkdir empty
fetch 66 empty
printf 'caf\xe9\n' >texts/latin1.txt
fetch 65 texts
complains 'latin1\.txt: must be UTF-8'
exit $failures
