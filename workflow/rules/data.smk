# Check a dataset, all of it, and write its index.


rule index:
    input:
        plan.index_inputs,
    output:
        f"{BASE}/index/manifest.json",
        f"{BASE}/index/index.csv",
        f"{BASE}/index/classes.txt",
        f"{BASE}/index/report.json",
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
        settings=plan.settings("index"),
        code=plan.code("index"),
        content=plan.index_content,
        run=plan.program("index"),
        out=plan.out,
        tee=plan.tee,
    message:
        "Checking dataset {wildcards.dataset}"
    shell:
        "{params.run} --dataset {wildcards.dataset} --settings {params.settings:q} --threads {threads}"
        " --out {params.out:q} --state {params.out:q} 2>&1 | {params.tee} {log:q}"
