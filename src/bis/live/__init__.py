"""The SDK: what a training script says of its own run.

    import bis

    bis.params(lr=0.1, layers=3)
    for step, batch in enumerate(batches):
        bis.log(step=step, loss=train(batch))

Under `bis run` it goes into the record of that run. Elsewhere a run begins with the first word, in the ledger of the
project or on a server, and ends with the process.
"""
