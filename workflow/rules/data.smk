# Check a dataset, all of it, and write its index.


rule index:
    input:
        plan.index_inputs,
    output:
        f"{BASE}/index/manifest.json",
    log:
        "logs/{dataset}/index.log",
    benchmark:
        "logs/{dataset}/index.tsv"
    conda:
        "../../envs/environment.yml"
    threads: CORES
    resources:
        mem_mb=NEEDS["index"].memory,
        runtime=NEEDS["index"].minutes,
    params:
        command=plan.command("index"),
        tee=plan.tee,
    message:
        "Checking dataset {wildcards.dataset}"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"
